//! Every child object, as a pure function of the resource.
