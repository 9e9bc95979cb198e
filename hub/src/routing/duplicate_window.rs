//! What became of the envelopes of other nodes, so that a repeat is answered and not acted on again.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::ports::Answer;
use crate::{
    identity::{Incarnation, NodeId, NodeInstance},
    protocol::envelope::ReportStatus,
};

/// Numbers per block: what is made and given up at once.
const BLOCK: u64 = 4096;
/// Blocks per source, so that a window is a million numbers wide and takes at most 2 MiB.
const BLOCKS: usize = 256;
/// Sources that are remembered; beyond it the one that was quiet for longest is forgotten.
const SOURCES: usize = 256;
/// A block that nothing was noted in for so long is given up: no send lasts longer than 60 s.
const KEPT: Duration = Duration::from_secs(150);

/// Codes of what became of a number.
const NEW: u16 = 0;
const PENDING: u16 = 1;
const NO_ANSWER: u16 = 2;
const NOT_HERE: u16 = 3;
const OVERLOADED: u16 = 4;
/// Done, with this much taken off the count.
const DONE: u16 = 5;

/// What is known of an envelope that came.
#[derive(Debug)]
pub enum Seen {
    /// Never seen: act on it, then call [`DuplicateWindows::settle`].
    First,
    /// It was acted on, and this was the result; none when nothing could be said.
    Settled(Option<Answer>),
    /// It is being acted on; the result comes here.
    UnderWay(oneshot::Receiver<Option<Answer>>),
    /// Too old to say: not to be acted on, because it may have been.
    Forgotten,
}

/// The windows of all sources.
#[derive(Debug, Default)]
pub struct DuplicateWindows {
    sources: RwLock<HashMap<NodeId, Arc<Mutex<Window>>>>,
}

impl DuplicateWindows {
    /// Notes that an envelope came and says what is known of it.
    pub fn begin(&self, source: &NodeInstance, number: u64, now: Instant) -> Seen {
        self.window(source, now).lock().begin(&source.incarnation, number, now)
    }

    /// Notes what became of an envelope, for repeats that came meanwhile and that will come.
    pub fn settle(&self, source: &NodeInstance, number: u64, answer: Option<Answer>) {
        let Some(window) = self.sources.read().get(&source.node).cloned() else { return };
        let waiting = window.lock().settle(&source.incarnation, number, answer);
        for waiter in waiting {
            // Whoever waited may have given up.
            let _ = waiter.send(answer);
        }
    }

    fn window(&self, source: &NodeInstance, now: Instant) -> Arc<Mutex<Window>> {
        if let Some(window) = self.sources.read().get(&source.node) {
            return Arc::clone(window);
        }
        let mut sources = self.sources.write();
        if sources.len() >= SOURCES && !sources.contains_key(&source.node) {
            let quietest = sources.iter().min_by_key(|(_, window)| window.lock().heard);
            if let Some(node) = quietest.map(|(node, _)| node.clone()) {
                sources.remove(&node);
            }
        }
        let window = || Arc::new(Mutex::new(Window::new(source.incarnation.clone(), now)));
        Arc::clone(sources.entry(source.node.clone()).or_insert_with(window))
    }
}

#[derive(Debug)]
struct Block {
    codes: Box<[u16]>,
    noted: Instant,
}

/// The numbers of one source.
#[derive(Debug)]
struct Window {
    /// Numbers begin anew with each process, not with each life of one.
    life: Incarnation,
    /// Which block `blocks` begins with.
    first: u64,
    /// None where no number was seen yet.
    blocks: VecDeque<Option<Block>>,
    waiting: HashMap<u64, Vec<oneshot::Sender<Option<Answer>>>>,
    heard: Instant,
}

impl Window {
    fn new(life: Incarnation, now: Instant) -> Self {
        Self { life, first: 0, blocks: VecDeque::new(), waiting: HashMap::new(), heard: now }
    }

    fn begin(&mut self, life: &Incarnation, number: u64, now: Instant) -> Seen {
        if life.start_id() != self.life.start_id() {
            *self = Self::new(life.clone(), now);
        }
        self.heard = now;
        let Some(code) = self.make_room(number, now) else { return Seen::Forgotten };
        match *code {
            NEW => {
                *code = PENDING;
                Seen::First
            }
            PENDING => {
                let (waiter, result) = oneshot::channel();
                self.waiting.entry(number).or_default().push(waiter);
                Seen::UnderWay(result)
            }
            settled => Seen::Settled(answer_of(settled)),
        }
    }

    fn settle(
        &mut self,
        life: &Incarnation,
        number: u64,
        answer: Option<Answer>,
    ) -> Vec<oneshot::Sender<Option<Answer>>> {
        if life.start_id() != self.life.start_id() {
            return Vec::new();
        }
        if let Some(code) = self.code(number) {
            *code = code_of(answer);
        }
        if self.waiting.is_empty() { Vec::new() } else { self.waiting.remove(&number).unwrap_or_default() }
    }

    fn code(&mut self, number: u64) -> Option<&mut u16> {
        let place = usize::try_from((number / BLOCK).checked_sub(self.first)?).ok()?;
        let block = self.blocks.get_mut(place)?.as_mut()?;
        block.codes.get_mut(usize::try_from(number % BLOCK).ok()?)
    }

    /// The place of a number, made if it is not too old.
    fn make_room(&mut self, number: u64, now: Instant) -> Option<&mut u16> {
        let wanted = number / BLOCK;
        if self.blocks.is_empty() {
            // Numbers are given before envelopes are queued, so a slightly lower one may come second.
            self.first = wanted.saturating_sub(1);
        }
        let mut place = wanted.checked_sub(self.first)?;
        let most = BLOCKS as u64 - 1;
        if place > most {
            let beyond = place - most;
            let dropped = usize::try_from(beyond).unwrap_or(usize::MAX).min(self.blocks.len());
            self.blocks.drain(..dropped);
            self.first += beyond;
            place = most;
        }
        let place = usize::try_from(place).ok()?;
        while self.blocks.len() <= place {
            self.blocks.push_back(None);
        }
        if self.blocks.get(place).is_some_and(Option::is_none) {
            let codes = vec![NEW; usize::try_from(BLOCK).ok()?].into_boxed_slice();
            self.blocks[place] = Some(Block { codes, noted: now });
            self.give_up_old(wanted, now);
        }
        if let Some(Some(block)) = self.blocks.get_mut(usize::try_from(wanted - self.first).ok()?) {
            block.noted = now;
        }
        self.code(number)
    }

    fn give_up_old(&mut self, wanted: u64, now: Instant) {
        while let Some(place) = self.blocks.iter().position(Option::is_some) {
            let old = self.blocks[place].as_ref().is_some_and(|b| now.duration_since(b.noted) > KEPT);
            if !old || self.first + place as u64 >= wanted {
                return;
            }
            self.blocks.drain(..=place);
            self.first += place as u64 + 1;
        }
    }
}

fn code_of(answer: Option<Answer>) -> u16 {
    match answer {
        None => NO_ANSWER,
        Some(Answer { status: ReportStatus::NotHere, .. }) => NOT_HERE,
        Some(Answer { status: ReportStatus::Overloaded, .. }) => OVERLOADED,
        // One user has fewer connections on a node than this could not hold.
        Some(Answer { status: ReportStatus::Done, count }) => {
            DONE.saturating_add(u16::try_from(count).unwrap_or(u16::MAX))
        }
    }
}

fn answer_of(code: u16) -> Option<Answer> {
    let (status, count) = match code {
        NEW | PENDING | NO_ANSWER => return None,
        NOT_HERE => (ReportStatus::NotHere, 0),
        OVERLOADED => (ReportStatus::Overloaded, 0),
        done => (ReportStatus::Done, u32::from(done - DONE)),
    };
    Some(Answer { status, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE_TWICE: Option<Answer> = Some(Answer { status: ReportStatus::Done, count: 2 });

    fn source(text: &str) -> NodeInstance {
        text.parse().unwrap()
    }

    fn word(seen: &Seen) -> &'static str {
        match seen {
            Seen::First => "first",
            Seen::Settled(_) => "settled",
            Seen::UnderWay(_) => "under way",
            Seen::Forgotten => "forgotten",
        }
    }

    #[test]
    fn a_repeat_gets_the_first_result_again() {
        let (windows, now, a) = (DuplicateWindows::default(), Instant::now(), source("a#k.1"));
        assert_eq!(word(&windows.begin(&a, 7, now)), "first");
        let Seen::UnderWay(mut early) = windows.begin(&a, 7, now) else { panic!("not under way") };
        assert!(early.try_recv().is_err(), "not known yet");
        windows.settle(&a, 7, DONE_TWICE);
        assert_eq!(early.try_recv(), Ok(DONE_TWICE));
        let Seen::Settled(answer) = windows.begin(&a, 7, now) else { panic!("not settled") };
        assert_eq!(answer, DONE_TWICE);
        assert_eq!(word(&windows.begin(&a, 6, now)), "first", "out of order, but never seen");
        assert_eq!(word(&windows.begin(&source("b#k.1"), 7, now)), "first", "another source");
        assert_eq!(word(&windows.begin(&source("a#k.2"), 7, now)), "settled", "the same process");
        assert_eq!(word(&windows.begin(&source("a#z.1"), 7, now)), "first", "another process");
    }

    #[test]
    fn every_result_survives() {
        let answer = |status, count| Some(Answer { status, count });
        let (windows, now, a) = (DuplicateWindows::default(), Instant::now(), source("a#k.1"));
        let results = [
            None,
            answer(ReportStatus::NotHere, 0),
            answer(ReportStatus::Overloaded, 0),
            answer(ReportStatus::Done, 0),
            answer(ReportStatus::Done, 50_000),
        ];
        for (number, result) in (1..).zip(results) {
            windows.begin(&a, number, now);
            windows.settle(&a, number, result);
            let Seen::Settled(found) = windows.begin(&a, number, now) else { panic!("{result:?}") };
            assert_eq!(found, result);
        }
    }

    #[test]
    fn the_window_is_bounded_in_numbers_and_time() {
        let (now, life) = (Instant::now(), Incarnation::first("k").unwrap());
        let mut window = Window::new(life.clone(), now);
        for number in [1, 10 * BLOCK, 200 * BLOCK] {
            assert_eq!(word(&window.begin(&life, number, now)), "first");
        }
        assert_eq!(window.blocks.iter().flatten().count(), 3, "only what was touched takes memory");
        assert_eq!(word(&window.begin(&life, 1, now)), "under way");
        assert_eq!(word(&window.begin(&life, 300 * BLOCK, now)), "first");
        assert_eq!(word(&window.begin(&life, 1, now)), "forgotten");
        assert_eq!(word(&window.begin(&life, 200 * BLOCK, now)), "under way");
        assert!(window.blocks.len() <= BLOCKS);
        assert_eq!(word(&window.begin(&life, u64::MAX, now)), "first");
        assert!(window.blocks.len() <= BLOCKS);
        let mut window = Window::new(life.clone(), now);
        for (after, number) in [(0, 1), (100, BLOCK), (200, 2 * BLOCK)] {
            assert_eq!(word(&window.begin(&life, number, now + Duration::from_secs(after))), "first");
        }
        let later = now + Duration::from_secs(200);
        assert_eq!(word(&window.begin(&life, 1, later)), "forgotten", "200 s old");
        assert_eq!(word(&window.begin(&life, BLOCK, later)), "under way", "100 s old");
    }

    #[test]
    fn sources_are_bounded() {
        let (windows, now) = (DuplicateWindows::default(), Instant::now());
        for n in 0..SOURCES as u64 + 20 {
            windows.begin(&source(&format!("n-{n}#k.1")), 1, now + Duration::from_millis(n));
        }
        assert_eq!(windows.sources.read().len(), SOURCES);
        assert_eq!(word(&windows.begin(&source("n-0#k.1"), 1, now)), "first", "the quietest went");
        assert_eq!(word(&windows.begin(&source("n-100#k.1"), 1, now)), "under way");
    }
}
