//! A case: bytes of a client, how the upstream plays, and what must be seen on both sides.

/// One case of a class.
pub(crate) struct Case {
    /// The number of its class; see [`cases::CLASSES`](crate::cases::CLASSES).
    pub(crate) class: u8,
    /// What is special about it.
    pub(crate) name: String,
    /// What the client sends.
    pub(crate) send: Vec<u8>,
    /// What the upstream does with requests that are forwarded.
    pub(crate) play: Play,
    /// What must be seen.
    pub(crate) expect: Expect,
}

/// What the upstream does with a request.
#[derive(Clone)]
pub(crate) enum Play {
    /// Answers 200 with the request's method and target as the body.
    Echo,
    /// Answers with these bytes.
    Answer(Vec<u8>),
    /// Answers with these bytes and closes.
    AnswerAndClose(Vec<u8>),
    /// Answers with these bytes once it has the head, whatever the body.
    AnswerHead(Vec<u8>),
}

/// What must be seen.
pub(crate) enum Expect {
    /// One answer with one of these statuses, then the end of the connection. Nothing reaches the upstream.
    Refused(&'static [u16]),
    /// As [`Refused`](Self::Refused), but a part of the request may have been forwarded by then. The upstream must not be
    /// able to take it for a whole one, and its connection is closed.
    Broken(&'static [u16]),
    /// Answers, and requests to the upstream.
    Served {
        /// What is answered, in order.
        answers: Vec<Answer>,
        /// What the upstream receives, in order; see [`Case::forwards`].
        forwards: Vec<Vec<&'static str>>,
        /// What becomes of the client's connection.
        then: Then,
    },
    /// 502, and the upstream's connection is never used again.
    BadGateway,
    /// A whole answer or 502, and the upstream's connection is never used again.
    NotKept,
    /// An answer that began and that no client can take for a whole one; the upstream's connection is never used again.
    Cut,
}

/// An answer to the client.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Whether the head alone makes it whole: an answer to HEAD.
    pub(crate) to_head: bool,
    /// What its body is.
    pub(crate) body: Option<&'static str>,
}

/// What becomes of a connection after a case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It takes another request.
    Goes,
    /// It is closed, and what follows on it is nobody's request.
    Ends,
    /// Either of both.
    GoesOrEnds,
}

impl Case {
    fn new(class: u8, name: &str, send: impl Into<Vec<u8>>, expect: Expect) -> Self {
        Self { class, name: name.to_owned(), send: send.into(), play: Play::Echo, expect }
    }

    /// Bytes that are refused with 400.
    pub(crate) fn refused(class: u8, name: &str, send: impl Into<Vec<u8>>) -> Self {
        Self::refused_with(class, name, &[400], send)
    }

    /// Bytes that are refused with one of these statuses.
    pub(crate) fn refused_with(
        class: u8,
        name: &str,
        statuses: &'static [u16],
        send: impl Into<Vec<u8>>,
    ) -> Self {
        Self::new(class, name, send, Expect::Refused(statuses))
    }

    /// A body whose framing is wrong, after a head that was right: 400.
    pub(crate) fn broken(class: u8, name: &str, send: impl Into<Vec<u8>>) -> Self {
        Self::new(class, name, send, Expect::Broken(&[400]))
    }

    /// Bytes that are answered so.
    pub(crate) fn served(class: u8, name: &str, send: impl Into<Vec<u8>>, statuses: &[u16]) -> Self {
        let answer = |&status: &u16| Answer { status, to_head: false, body: None };
        let answers = statuses.iter().map(answer).collect();
        Self::new(class, name, send, Expect::Served { answers, forwards: vec![], then: Then::Goes })
    }

    /// A GET, to which the upstream answers what no client must see.
    pub(crate) fn bad_gateway(class: u8, name: &str, answer: impl Into<Vec<u8>>) -> Self {
        Self::new(class, name, "GET /up HTTP/1.1\r\nHost: a\r\n\r\n", Expect::BadGateway)
            .playing(Play::Answer(answer.into()))
    }

    /// A GET, to which the upstream answers so that its connection is of no more use.
    pub(crate) fn not_kept(class: u8, name: &str, answer: impl Into<Vec<u8>>) -> Self {
        Self::new(class, name, "GET /up HTTP/1.1\r\nHost: a\r\n\r\n", Expect::NotKept)
            .playing(Play::Answer(answer.into()))
    }

    /// A GET, to which the upstream begins an answer that turns out bad.
    pub(crate) fn cut(class: u8, name: &str, play: Play) -> Self {
        Self::new(class, name, "GET /up HTTP/1.1\r\nHost: a\r\n\r\n", Expect::Cut).playing(play)
    }

    /// Other bytes of the client.
    pub(crate) fn sending(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.send = bytes.into();
        self
    }

    /// What the upstream does.
    pub(crate) fn playing(mut self, play: Play) -> Self {
        self.play = play;
        self
    }

    /// A request that the upstream receives, written down as follows: the whole bytes, where the `Host` field of the
    /// upstream is left out, and the fields that the gateway adds are `~` and the client's host.
    pub(crate) fn forwards(self, request: &'static str) -> Self {
        self.forwards_one_of(&[request])
    }

    /// The same with several right forms.
    pub(crate) fn forwards_one_of(mut self, forms: &[&'static str]) -> Self {
        if let Expect::Served { forwards, .. } = &mut self.expect {
            forwards.push(forms.to_vec());
        }
        self
    }

    /// The bodies of the answers.
    pub(crate) fn bodies(mut self, bodies: &[&'static str]) -> Self {
        if let Expect::Served { answers, .. } = &mut self.expect {
            for (answer, body) in answers.iter_mut().zip(bodies) {
                answer.body = Some(body);
            }
        }
        self
    }

    /// The answer of that number is one to HEAD.
    pub(crate) fn head(mut self, number: usize) -> Self {
        if let Expect::Served { answers, .. } = &mut self.expect {
            answers[number].to_head = true;
        }
        self
    }

    /// The connection is closed after it.
    pub(crate) fn ends(self) -> Self {
        self.then(Then::Ends)
    }

    /// The connection may be closed after it.
    pub(crate) fn may_end(self) -> Self {
        self.then(Then::GoesOrEnds)
    }

    fn then(mut self, after: Then) -> Self {
        if let Expect::Served { then, .. } = &mut self.expect {
            *then = after;
        }
        self
    }
}
