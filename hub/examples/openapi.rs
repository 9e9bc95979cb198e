//! Writes the description of the API, as `GET /openapi.json` answers it, to standard output.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(wsc_hub::http::openapi::document::document().as_bytes())
}
