//! What envelopes carry: no panic, and what is read can be written and read again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wsc_hub::protocol::{
    envelope::{Kick, Report},
    group_payload::{GroupFrame, MembersPage, MembersQuestion, MembershipChange},
    presence_changed,
    stored_notice::StoredNotice,
};

fuzz_target!(|bytes: &[u8]| {
    let payload = Bytes::copy_from_slice(bytes);
    if let Ok(report) = Report::decode(&payload) {
        assert_eq!(Report::decode(&report.encode()).expect("a report"), report);
    }
    if let Ok(kick) = Kick::decode(payload.clone()) {
        assert_eq!(Kick::decode(kick.encode()).expect("a kick"), kick);
    }
    if let Ok(frame) = GroupFrame::decode(payload.clone()) {
        assert_eq!(GroupFrame::decode(frame.encode()).expect("a group's frame"), frame);
    }
    if let Ok(change) = MembershipChange::decode(payload.clone()) {
        assert_eq!(MembershipChange::decode(change.encode()).expect("a change"), change);
    }
    if let Ok(question) = MembersQuestion::decode(payload.clone()) {
        assert_eq!(MembersQuestion::decode(question.encode()).expect("a question"), question);
    }
    if let Ok(notice) = StoredNotice::decode(payload.clone()) {
        assert_eq!(StoredNotice::decode(notice.encode()).expect("a notice"), notice);
    }
    if let Ok(page) = MembersPage::decode(payload.clone()) {
        assert_eq!(MembersPage::decode(page.clone().encode()).expect("a page"), page);
    }
    if let Ok(instances) = presence_changed::decode(payload) {
        let written = presence_changed::encode(&instances);
        assert_eq!(presence_changed::decode(written).expect("a change of presence"), instances);
    }
});
