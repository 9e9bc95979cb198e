//! Drains as a table: pace, room, budget, and who is left alone.

use std::time::Duration;

use crate::observed::fleet::HeldBack;
use crate::observed::hub::DrainReport;
use crate::observed::world::{Ongoing, World};

use super::fixture::{ago, check, line, run, wish, world};
use super::step::{Step, StepKind};
use super::wish::Wish;

#[test]
fn a_drain_is_waited_for_until_the_last_client_or_the_timeout() {
    check(
        &[
            (3, "oA oA oW", "Rollout wait Draining"),
            (3, "oA oA oX", "Rollout delete chat-2"),
            (3, "oA oA ow", "Rollout delete chat-2"),
            // Drained and deleted: the next one waits for its successor.
            (3, "oA oA oT", "Rollout wait PodDown"),
            (3, "oA oA nA", "Rollout drain chat-1"),
        ],
        |_, _| (),
    );
}

#[test]
fn a_container_that_restarted_during_its_drain_is_drained_again() {
    let mut world = world("oA oA oW");
    let view = world.hubs.get_mut("uid-2").unwrap();
    let report = view.answer.as_mut().unwrap();
    (report.drain, report.phase) = (None, crate::observed::hub::HubPhase::Active);
    report.incarnation = "life.2".into();
    let plan = run(&wish(3), &world);
    let Step::Drain { order, victim } = &plan.steps[0] else { panic!("{}", line(&plan)) };
    assert_eq!((victim.name.as_str(), order.incarnation.as_str()), ("chat-2", "life.2"));
    assert_eq!((order.id.as_str(), order.node_id.as_str()), ("wsc-operator/rollout-new", "chat-2"));
}

#[test]
fn a_drain_has_the_pace_of_the_spec_and_follows_it() {
    let mut asked = wish(3);
    asked.drain.rate = 70;
    asked.drain.timeout = Duration::from_secs(600);
    let order = |wish: &Wish, world: &World| match &run(wish, world).steps[..] {
        [Step::Drain { order, .. }] => Some(order.clone()),
        _ => None,
    };
    let first = order(&asked, &world("oA oA oA")).unwrap();
    assert_eq!((first.rate, first.deadline.as_secs(), first.retry_after_max.as_secs()), (70, 600, 1));
    // The drain under way runs at 200/s, with 600 s in all.
    assert_eq!(order(&asked, &world("oA oA oW")), None);
    asked.drain.rate = 500;
    let faster = order(&asked, &world("oA oA oW")).unwrap();
    assert_eq!((faster.rate, faster.id.as_str()), (500, "wsc-operator/rollout-new"));
    asked.drain = Wish::default().drain;
    asked.drain.timeout = Duration::from_secs(300);
    assert_eq!(order(&asked, &world("oA oA oW")).unwrap().deadline.as_secs(), 300);
    // The id of the drain under way is kept, because another one would start its clock again.
    let mut renamed = world("oA oA oW");
    drain_of(&mut renamed, 2).id = "wsc-operator/scale-down-2".into();
    assert_eq!(order(&asked, &renamed).unwrap().id, "wsc-operator/scale-down-2");
}

fn drain_of(world: &mut World, ordinal: i32) -> &mut DrainReport {
    let view = world.hubs.get_mut(&format!("uid-{ordinal}")).unwrap();
    view.answer.as_mut().unwrap().drain.as_mut().unwrap()
}

#[test]
fn nobody_is_drained_into_full_nodes() {
    check(
        &[
            // 850 of 1000 is full.
            (3, "oA650 oA650 oA400", "Rollout drain chat-2"),
            (3, "oA650 oA650 oA401", "Rollout wait NoRoom"),
            (3, "oA850 oA850 oA0", "Rollout drain chat-2"),
            (3, "oA900 oA900 oA1", "Rollout wait NoRoom"),
            // A lower ordinal with fewer clients does not overtake.
            (3, "oA300 oA650 oA900", "Rollout wait NoRoom"),
            // Clients that are on their way already need a place, too.
            (2, "nA650 oA200", "Rollout drain chat-1"),
            (2, "nA651 oA200", "Rollout wait NoRoom"),
            // A drain under way is not forced and not stopped.
            (3, "oA840 oA840 oW900", "Rollout wait Draining"),
            // Stopping asks nobody.
            (0, "oA900 oA900", "Stop drain chat-1, drain chat-0"),
        ],
        |_, _| (),
    );
    let mut crowded = world("nA900 nA900 nA900");
    crowded.last_wish = Some(2);
    assert_eq!(line(&run(&wish(2), &crowded)), "ScaleDown wait NoRoom");
}

#[test]
fn with_nobody_to_send_clients_to_they_are_sent_home_at_once() {
    check(
        &[
            (1, "oA900", "Rollout empty chat-0"),
            (1, "oE5", "Rollout empty chat-0"),
            (1, "oX", "Rollout delete chat-0"),
            // Of two, the other one is waited for.
            (2, "oA nN", "Rollout wait PodDown"),
        ],
        |_, _| (),
    );
    let plan = run(&wish(1), &world("oA900"));
    let Step::Drain { order, .. } = &plan.steps[0] else { panic!("{}", line(&plan)) };
    assert_eq!((order.deadline.as_millis(), order.retry_after_max.as_secs()), (1, 2));
}

#[test]
fn several_go_at_once_where_the_spec_allows_it() {
    let two = |wish: &mut Wish, _: &mut World| wish.max_unavailable = 2;
    check(
        &[
            (4, "oA oA oA oA", "Rollout drain chat-3, drain chat-2"),
            (4, "oA oA oA oW", "Rollout drain chat-2"),
            (4, "oA oA oW oW", "Rollout wait Draining"),
            (4, "oA oA oW oX", "Rollout delete chat-3"),
            (4, "oA oA oX oT", "Rollout delete chat-2"),
            (4, "oA oA oT nN", "Rollout wait PodDown"),
            (4, "oA oA nN nA", "Rollout drain chat-1"),
            (4, "oA oA na nA", "Rollout drain chat-1"),
            // Who is down for other reasons counts, too.
            (4, "oD oA oA oA", "Rollout drain chat-3"),
            (4, "oD oD oA oA", "Rollout wait PodDown"),
            (4, "oA oI oI oA", "Repair delete chat-2, delete chat-1"),
            (4, "oI oI oI oA", "Repair delete chat-2, delete chat-1"),
            (4, "oN oN oN oA", "Rollout delete chat-2, delete chat-1"),
            // The second finds no room once the first is on its way.
            (3, "oA650 oA600 oA400", "Rollout drain chat-2"),
            (3, "oA100 oA600 oA600", "Rollout drain chat-2"),
            // The last one that serves waits for the others.
            (2, "oA oA", "Rollout drain chat-1"),
        ],
        two,
    );
}

#[test]
fn drains_of_others_are_left_alone_and_count_as_down() {
    check(
        &[
            (3, "oD oA oA", "Rollout wait PodDown"),
            (3, "od oA oA", "Rollout wait PodDown"),
            (3, "oA oA oD", "Rollout wait PodDown"),
            (3, "nD nA nA", "- rest"),
            (3, "nd nA nA", "- rest"),
            (4, "nD nA nA", "ScaleUp 3->4"),
        ],
        |_, _| (),
    );
    let plan = run(&wish(3), &world("oD oA oA"));
    assert!(plan.operation.unwrap().message.contains("'somebody' drains"));
}

fn wished_for_long(wish: &mut Wish, world: &mut World) {
    world.last_wish = Some(wish.replicas);
}

#[test]
fn a_scale_down_drains_the_highest_and_lowers_step_by_step() {
    check(
        &[
            (1, "nA nA nA", "ScaleDown drain chat-2"),
            (1, "nA nA nW", "ScaleDown wait Draining"),
            (1, "nA nA nX", "ScaleDown 3->2"),
            (1, "nA nA nw", "ScaleDown 3->2"),
            (1, "nA nA --", "ScaleDown 3->2"),
            (1, "nA nA nI", "ScaleDown 3->2 stuck"),
            (1, "nA nX nX", "ScaleDown 3->1"),
            // Drained for another reason, it would stand in the way of the higher one for ever.
            (1, "nA nX nA", "ScaleDown delete chat-1"),
            (1, "nN nA nA", "ScaleDown wait PodDown"),
            (1, "nA nA nS", "ScaleDown wait PodDown"),
            (1, "nA nA ns", "ScaleDown 3->2"),
            // Somebody else's drain serves as well, once it is over.
            (1, "nA nA nD", "ScaleDown wait PodDown"),
            (1, "nA nA nd", "ScaleDown 3->2"),
        ],
        wished_for_long,
    );
}

#[test]
fn a_scale_down_that_has_begun_does_not_wait_again() {
    let mut young = world("nA nA nA");
    young.ongoing = Some(Ongoing { id: "scale-down-1".into(), started_at: ago(5), total: 2 });
    assert_eq!(line(&run(&wish(1), &young)), "ScaleDown wait Settle");
    young.ongoing = Some(Ongoing { id: "scale-down-1".into(), started_at: ago(5), total: 3 });
    assert_eq!(line(&run(&wish(1), &young)), "ScaleDown drain chat-2");
}

#[test]
fn what_was_begun_is_taken_back_when_the_pod_may_stay() {
    check(
        &[
            (3, "nA nA nW", "Resume cancel chat-2"),
            // Its last client is gone, so it must start anew.
            (3, "nA nA nX", "Resume delete chat-2"),
            (5, "nA nA nW", "ScaleUp cancel chat-2, 3->5"),
            (3, "oA oA nW", "Rollout cancel chat-2"),
            // It still has a reason to go.
            (2, "nA nA nW", "ScaleDown wait Settle"),
            (5, "oA oA oW", "ScaleUp 3->5"),
        ],
        |_, _| (),
    );
    // A template that does not come up takes nobody else down.
    check(&[(3, "oA oW nI", "Rollout cancel chat-1, put back old for chat-2 stuck")], |_, _| ());
}

#[test]
fn a_begun_scale_down_ends_before_a_rollout_begins() {
    let begun = |wish: &mut Wish, world: &mut World| {
        for view in world.hubs.values_mut() {
            if let Ok(report) = &mut view.answer
                && let Some(drain) = &mut report.drain
            {
                drain.id = format!("wsc-operator/scale-down-{}", wish.replicas);
            }
        }
    };
    check(
        &[
            (3, "oA oA oA oW", "ScaleDown wait Draining"),
            (3, "oA oA oA oX", "ScaleDown 4->3"),
            (2, "oA oA oA oW", "ScaleDown wait Draining"),
            (2, "oA oA oA oX", "ScaleDown 4->3"),
        ],
        begun,
    );
}

#[test]
fn while_a_template_is_refused_only_pods_that_do_not_serve_are_replaced() {
    let refused = |_: &mut Wish, world: &mut World| {
        world.fleet.as_mut().unwrap().held_back = Some(HeldBack {
            refused: "hash".into(),
            revision: "new".into(),
            pod: "chat-2".into(),
            cause: "cannot pull its image".into(),
        });
    };
    check(
        &[
            (3, "nA nA nA", "- rest stuck"),
            (3, "nA nA oI", "Repair delete chat-2 stuck"),
            (3, "nA nA oC", "Repair delete chat-2 stuck"),
            (3, "nA nA oi", "Rollout delete chat-2 stuck"),
            (3, "nA nA oA", "- rest stuck"),
            // Its own drain goes on.
            (3, "nA nA oW", "Rollout wait Draining stuck"),
            (4, "nA nA nA", "ScaleUp 3->4 stuck"),
            // Never back and forth.
            (3, "oA nA nI", "- rest stuck"),
        ],
        refused,
    );
}

#[test]
fn a_bad_image_is_left_by_a_corrected_spec_with_no_hand_work() {
    check(
        &[
            // chat-2 runs a template that cannot be pulled; the corrected one is newer still.
            (3, "oA oA oI", "Repair delete chat-2"),
            (3, "oA oA oi", "Rollout delete chat-2"),
        ],
        |_, _| (),
    );
}

#[test]
fn a_lost_pod_is_removed_only_when_nobody_lists_its_node() {
    let mut lost = world("nA nA nt");
    assert_eq!(line(&run(&wish(3), &lost)), "Repair force chat-2");
    lost.listed.as_mut().unwrap().insert("chat-2".into());
    assert_eq!(line(&run(&wish(3), &lost)), "- rest");
    lost.listed = None;
    assert_eq!(line(&run(&wish(3), &lost)), "- rest", "nobody was there to ask");
}

#[test]
fn a_rebalance_closes_what_is_above_the_mean_once() {
    let asked = |wish: &mut Wish, _: &mut World| wish.rebalance = Some("run-1".into());
    check(
        &[
            (3, "nA100 nA100 nA700", "Rebalance rebalance chat-2:400"),
            (3, "nA10 nA10 nA10", "Rebalance rebalance"),
            (3, "nA10 nA11 nA10", "Rebalance rebalance"),
            (3, "nA100 nN nA700", "- rest"),
            (3, "oA100 oA100 oA700", "Rollout drain chat-2"),
        ],
        asked,
    );
    check(&[(3, "nA100 nA100 nA700", "- rest")], |wish, world| {
        asked(wish, world);
        world.rebalanced = Some("run-1".into());
    });
}

#[test]
fn the_victim_on_record_comes_first() {
    check(&[(3, "oA oA oA", "Rollout drain chat-0")], |_, world| {
        world.claimed.insert("uid-0".into());
    });
}

#[test]
fn a_scale_down_counts_what_it_did() {
    let mut shrinking = world("nA nA nX");
    shrinking.ongoing = Some(Ongoing { id: "scale-down-1".into(), started_at: ago(90), total: 4 });
    let operation = run(&wish(1), &shrinking).operation.unwrap();
    assert_eq!((operation.done, operation.total), (2, 4));
}

#[test]
fn every_kind_of_step_has_a_word_of_its_own() {
    let words: std::collections::BTreeSet<&str> = StepKind::ALL.iter().map(|kind| kind.word()).collect();
    assert_eq!(words.len(), StepKind::ALL.len());
}
