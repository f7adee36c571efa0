//! Lets work in a few pieces at a time, so that what has begun is gone on with first.
//!
//! An event loop hands out what has happened in the order in which it happened. When a thousand clients ask at once, it
//! begins a thousand exchanges before it comes to the first response, although that one came long ago: each has its
//! state in memory that the processor's caches have lost by then, and a connection to the upstream of its own. Let in by
//! turns, they find memory and connections still warm that the ones before them have left.
//!
//! What costs most, a new connection to an upstream, has turns of its own: a client that opens a hundred streams at once
//! would otherwise have everybody else wait for a hundred of them.
//!
//! A turn is what lies between two looks at the sockets. Nobody waits for others to be *finished*: when those wait for a
//! slow upstream, turns are short.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A place in the queue, of somebody who waits.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Option<u64>);

/// Who waits, and who did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queue {
    /// Those who wait now; some may have given up.
    pub waiting: u64,
    /// Those who had to wait, from the beginning.
    pub waited: u64,
}

impl Queue {
    pub(crate) fn add(&mut self, other: &Self) {
        self.waiting += other.waiting;
        self.waited += other.waited;
    }
}

pub(crate) struct Turnstile {
    /// How many are let in in a turn.
    a_turn: u32,
    /// How many were let in since the turn began.
    entered: Cell<u32>,
    /// How many of those who had to wait were called, in all.
    called: Cell<u64>,
    /// How many had to wait, in all, beside who wants to be woken behind others.
    waited: Cell<u64>,
    /// Those who wait: at most one for each connection, or exchange.
    waiting: RefCell<VecDeque<Waker>>,
    /// Whether the next turn's beginning is under way.
    turning: Cell<bool>,
}

impl Turnstile {
    pub(crate) fn new(a_turn: u32) -> Rc<Self> {
        let (entered, called, waited, waiting, turning) = Default::default();
        Rc::new(Self { a_turn, entered, called, waited, waiting, turning })
    }

    /// Until it is one's turn.
    pub(crate) async fn enter(self: &Rc<Self>) {
        let mut ticket = Ticket::default();
        poll_fn(|cx| self.poll_enter(&mut ticket, cx)).await;
    }

    /// Ready when it is one's turn.
    pub(crate) fn poll_enter(self: &Rc<Self>, ticket: &mut Ticket, cx: &Context<'_>) -> Poll<()> {
        if let Some(number) = ticket.0 {
            if number >= self.called.get() {
                return Poll::Pending;
            }
            ticket.0 = None;
            return Poll::Ready(());
        }
        let entered = self.entered.get() + 1;
        // Before the turn is used up: who comes next need not wait for nothing.
        if entered > self.a_turn / 2 {
            self.turn();
        }
        if entered <= self.a_turn && self.waiting.borrow().is_empty() {
            self.entered.set(entered);
            return Poll::Ready(());
        }
        self.waited.set(self.waited.get() + 1);
        ticket.0 = Some(self.queue(cx.waker()));
        Poll::Pending
    }

    /// Wakes somebody when those who wait now have been let in.
    pub(crate) fn wake_behind(self: &Rc<Self>, waker: &Waker) {
        if self.waiting.borrow().is_empty() {
            waker.wake_by_ref();
        } else {
            self.queue(waker);
        }
    }

    /// Who waits.
    pub(crate) fn watch(&self) -> Queue {
        Queue { waiting: self.waiting.borrow().len() as u64, waited: self.waited.get() }
    }

    fn queue(&self, waker: &Waker) -> u64 {
        let mut waiting = self.waiting.borrow_mut();
        waiting.push_back(waker.clone());
        self.called.get() + waiting.len() as u64 - 1
    }

    /// Sees to it that another turn begins, and another one as long as somebody waits.
    fn turn(self: &Rc<Self>) {
        if self.turning.replace(true) {
            return;
        }
        let this = self.clone();
        tokio::task::spawn_local(async move {
            loop {
                // Behind the next look at the sockets, and behind those who are woken by it.
                tokio::task::yield_now().await;
                if !this.call() {
                    this.turning.set(false);
                    return;
                }
            }
        });
    }

    /// Begins a turn, with those who have waited longest. Says whether there are more.
    fn call(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let count = waiting.len().min(self.a_turn as usize);
        self.entered.set(count as u32);
        self.called.set(self.called.get() + count as u64);
        waiting.drain(..count).for_each(Waker::wake);
        !waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A_TURN: u32 = 64;

    /// Runs it where tasks of this thread can be spawned.
    async fn locally<T>(test: impl Future<Output = T>) -> T {
        tokio::task::LocalSet::new().run_until(test).await
    }

    /// Runs so many tasks that want to enter; gives in which turn each was let in, in their order.
    async fn turns(count: usize) -> Vec<u32> {
        let turnstile = Turnstile::new(A_TURN);
        let turn = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..count)
            .map(|_| {
                let (turnstile, turn) = (turnstile.clone(), turn.clone());
                tokio::task::spawn_local(async move {
                    turnstile.enter().await;
                    turn.get()
                })
            })
            .collect();
        let counted = turn.clone();
        let counter = tokio::task::spawn_local(async move {
            loop {
                tokio::task::yield_now().await;
                counted.set(counted.get() + 1);
            }
        });
        let mut all = Vec::new();
        for task in tasks {
            all.push(task.await.unwrap());
        }
        counter.abort();
        all
    }

    #[tokio::test]
    async fn a_few_are_let_in_a_turn_in_their_order() {
        locally(async {
            let all = turns(200).await;
            assert!(all.is_sorted(), "{all:?}");
            let most = all.chunk_by(|a, b| a == b).map(<[u32]>::len).max();
            // The counter's turns are not quite those of the turnstile.
            assert!(most <= Some(2 * A_TURN as usize), "{all:?}");
            assert!(all.last() >= Some(&(200 / A_TURN - 2)), "{all:?}");
        })
        .await;
    }

    #[tokio::test]
    async fn nobody_waits_when_few_come() {
        locally(async {
            let turnstile = Turnstile::new(A_TURN);
            let cx = Context::from_waker(Waker::noop());
            for _ in 0..10 {
                for _ in 0..A_TURN {
                    assert!(turnstile.poll_enter(&mut Ticket::default(), &cx).is_ready());
                }
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
    }

    #[tokio::test]
    async fn who_gives_up_holds_up_nobody() {
        locally(async {
            let turnstile = Turnstile::new(A_TURN);
            let gone: Vec<_> = (0..100)
                .map(|_| {
                    let turnstile = turnstile.clone();
                    tokio::task::spawn_local(async move { turnstile.enter().await })
                })
                .collect();
            tokio::task::yield_now().await;
            gone.iter().for_each(tokio::task::JoinHandle::abort);
            turnstile.enter().await;
            assert!(turnstile.waiting.borrow().is_empty());
        })
        .await;
    }

    #[tokio::test]
    async fn who_is_woken_behind_others_comes_after_them() {
        locally(async {
            let turnstile = Turnstile::new(A_TURN);
            let entered = Rc::new(Cell::new(0));
            for _ in 0..100 {
                let (turnstile, entered) = (turnstile.clone(), entered.clone());
                tokio::task::spawn_local(async move {
                    turnstile.enter().await;
                    entered.set(entered.get() + 1);
                });
            }
            tokio::task::yield_now().await;
            let mut asked = false;
            poll_fn(|cx| {
                if std::mem::replace(&mut asked, true) && entered.get() >= 100 {
                    return Poll::Ready(());
                }
                assert!(entered.get() < 100, "woken once, and not before the others");
                turnstile.wake_behind(cx.waker());
                Poll::Pending
            })
            .await;
        })
        .await;
    }
}
