//! Raw bytes in, verdicts out: smuggling classes, limits at n-1, n and n+1, and any split of the input.

mod bodies;
mod heads;
mod splits;
mod writing;

use bytes::BytesMut;
use http::Method;
use polygate_pipeline::{Headers, Scheme};

use crate::{
    Decoded, Decoder, Limits, Origin, RequestHead, RequestParser, ResponseHead, ResponseParser, WireError,
};

pub(crate) fn origin() -> Origin {
    Origin { scheme: Scheme::Http, authority: "local:80".to_owned() }
}

pub(crate) fn request(bytes: &[u8]) -> Result<Option<RequestHead>, WireError> {
    RequestParser::new().parse(&mut bytes.into(), &Limits::DEFAULT, &origin())
}

pub(crate) fn response(bytes: &[u8], method: Method) -> Result<Option<ResponseHead>, WireError> {
    ResponseParser::new().parse(&mut bytes.into(), &Limits::DEFAULT, &method)
}

/// A request's body as far as it is there, its trailers, and what is left behind it.
#[derive(Debug, PartialEq, Default)]
pub(crate) struct Message {
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<Headers>,
    pub(crate) whole: bool,
    pub(crate) rest: Vec<u8>,
}

/// Reads a head and its body, given in pieces.
pub(crate) fn message<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Message, WireError> {
    let (mut parser, mut decoder) = (RequestParser::new(), None);
    let mut buffer = BytesMut::new();
    let mut message = Message::default();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if decoder.is_none() {
            let head = parser.parse(&mut buffer, &Limits::DEFAULT, &origin())?;
            decoder = head.map(|head| Decoder::new(head.framing));
        }
        let Some(decoder) = &mut decoder else { continue };
        loop {
            match decoder.decode(&mut buffer, &Limits::DEFAULT)? {
                Decoded::Data(data) => message.body.extend_from_slice(&data),
                Decoded::Trailers(fields) => message.trailers = Some(fields),
                Decoded::More => break,
                Decoded::End => {
                    message.whole = true;
                    break;
                }
            }
        }
    }
    message.rest = buffer.to_vec();
    Ok(message)
}
