//! Native side of CompressionStream and DecompressionStream, over flate2.

use std::cell::RefCell;

use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::{Compression, Decompress, FlushDecompress, Status};
use rquickjs::{Array, Ctx, Exception, Function, Object, Result};
use std::io::Write;

use super::bytes::{View, uint8_array};

/// Most decompressed bytes that one step gives, so that a small input never becomes one huge array.
const MAX_STEP: usize = 64 * 1024;

/// Puts the functions of `js/compression.js` on `native`.
pub(super) fn natives<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("codec", Function::new(ctx.clone(), codec)?)
}

/// What a step gives: bytes, how much of the input it used, and whether it must be called again.
type Step = (Vec<u8>, usize, bool);

enum Codec {
    Gzip(GzEncoder<Vec<u8>>),
    Zlib(ZlibEncoder<Vec<u8>>),
    Raw(DeflateEncoder<Vec<u8>>),
    Inflate(Inflate),
}

/// A function `(bytes, last) => [bytes, used, more]`.
fn codec<'js>(ctx: Ctx<'js>, format: String, compress: bool) -> Result<Function<'js>> {
    let level = Compression::default();
    let codec = match (format.as_str(), compress) {
        ("gzip", true) => Codec::Gzip(GzEncoder::new(Vec::new(), level)),
        ("deflate", true) => Codec::Zlib(ZlibEncoder::new(Vec::new(), level)),
        (_, true) => Codec::Raw(DeflateEncoder::new(Vec::new(), level)),
        ("gzip", false) => Codec::Inflate(Inflate::new(Head::Gzip(Vec::new()), false)),
        ("deflate", false) => Codec::Inflate(Inflate::new(Head::None, true)),
        (_, false) => Codec::Inflate(Inflate::new(Head::None, false)),
    };
    let codec = RefCell::new(codec);
    Function::new(ctx, move |ctx: Ctx<'js>, bytes: View<'js>, last: bool| -> Result<Array<'js>> {
        let mut codec = codec.borrow_mut();
        let (out, used, more) = bytes.with(|bytes| codec.step(bytes, last))?.map_err(|error| {
            Exception::throw_type(&ctx, &format!("The compressed data was not valid: {error}"))
        })?;
        let result = Array::new(ctx.clone())?;
        result.set(0, uint8_array(&ctx, &out)?)?;
        result.set(1, used)?;
        result.set(2, more)?;
        Ok(result)
    })
}

impl Codec {
    fn step(&mut self, bytes: &[u8], last: bool) -> std::result::Result<Step, String> {
        let written = match self {
            Self::Gzip(writer) => {
                writer.write_all(bytes).and_then(|()| if last { writer.try_finish() } else { Ok(()) })
            }
            Self::Zlib(writer) => {
                writer.write_all(bytes).and_then(|()| if last { writer.try_finish() } else { Ok(()) })
            }
            Self::Raw(writer) => {
                writer.write_all(bytes).and_then(|()| if last { writer.try_finish() } else { Ok(()) })
            }
            Self::Inflate(inflate) => return inflate.step(bytes, last),
        };
        written.map_err(|error| error.to_string())?;
        let out = match self {
            Self::Gzip(writer) => std::mem::take(writer.get_mut()),
            Self::Zlib(writer) => std::mem::take(writer.get_mut()),
            Self::Raw(writer) => std::mem::take(writer.get_mut()),
            Self::Inflate(_) => Vec::new(),
        };
        Ok((out, bytes.len(), false))
    }
}

/// What is left to read of a gzip member's head (RFC 1952), gathered until it is whole.
enum Head {
    Gzip(Vec<u8>),
    None,
}

/// Longest gzip head, in bytes: it may hold a file name and a comment.
const MAX_HEAD: usize = 64 * 1024;

struct Inflate {
    head: Head,
    gzip: bool,
    inner: Decompress,
    ended: bool,
    /// Checksum of what was given, for gzip.
    crc: flate2::Crc,
    trailer: Vec<u8>,
}

impl Inflate {
    fn new(head: Head, zlib: bool) -> Self {
        let gzip = matches!(head, Head::Gzip(_));
        Self {
            head,
            gzip,
            inner: Decompress::new(zlib),
            ended: false,
            crc: flate2::Crc::new(),
            trailer: Vec::new(),
        }
    }

    fn step(&mut self, bytes: &[u8], last: bool) -> std::result::Result<Step, String> {
        if let Head::Gzip(head) = &mut self.head {
            let before = head.len();
            head.extend_from_slice(&bytes[..bytes.len().min(MAX_HEAD)]);
            let Some(length) = gzip_head(head)? else {
                if last || head.len() > MAX_HEAD {
                    return Err("it ends within its head".to_owned());
                }
                return Ok((Vec::new(), bytes.len(), false));
            };
            self.head = Head::None;
            return Ok((Vec::new(), length - before, true));
        }
        if self.ended {
            return self.trail(bytes, last);
        }
        let mut out = Vec::with_capacity(MAX_STEP);
        let before = self.inner.total_in();
        let status = self
            .inner
            .decompress_vec(bytes, &mut out, FlushDecompress::None)
            .map_err(|error| error.to_string())?;
        let used = usize::try_from(self.inner.total_in() - before).unwrap_or(bytes.len());
        if self.gzip {
            self.crc.update(&out);
        }
        match status {
            Status::StreamEnd => {
                self.ended = true;
                Ok((out, used, used < bytes.len() || last))
            }
            _ => {
                let more = used < bytes.len() || out.len() == out.capacity();
                if last && !more {
                    return Err("it is cut short".to_owned());
                }
                // Neither input taken nor output given: no step would ever go on.
                if more && used == 0 && out.is_empty() {
                    return Err("it cannot go on".to_owned());
                }
                Ok((out, used, more))
            }
        }
    }

    /// After the end: the trailer of gzip, and nothing else.
    fn trail(&mut self, bytes: &[u8], last: bool) -> std::result::Result<Step, String> {
        let wanted = if self.gzip { 8 } else { 0 };
        self.trailer.extend_from_slice(bytes.get(..bytes.len().min(9)).unwrap_or_default());
        if self.trailer.len() > wanted {
            return Err("data follows its end".to_owned());
        }
        if self.trailer.len() < wanted {
            return if last {
                Err("it is cut short".to_owned())
            } else {
                Ok((Vec::new(), bytes.len(), false))
            };
        }
        if let Some((sum, length)) = self.trailer.split_at_checked(4)
            && (sum != self.crc.sum().to_le_bytes() || length != self.crc.amount().to_le_bytes())
        {
            return Err("its checksum is wrong".to_owned());
        }
        Ok((Vec::new(), bytes.len(), false))
    }
}

/// The length of the gzip head that `bytes` begin with; none when it is not whole yet.
fn gzip_head(bytes: &[u8]) -> std::result::Result<Option<usize>, String> {
    let magic = [0x1F, 0x8B, 8];
    if bytes.iter().zip(magic).any(|(&found, wanted)| found != wanted) {
        return Err("it is not gzip".to_owned());
    }
    let Some(&flags) = bytes.get(3) else { return Ok(None) };
    if flags & 0xE0 != 0 {
        return Err("its head has unknown flags".to_owned());
    }
    let mut at = 10;
    if flags & 4 != 0 {
        let Some(&[low, high]) = bytes.get(at..at + 2).and_then(|b| b.first_chunk::<2>()) else {
            return Ok(None);
        };
        at += 2 + usize::from(u16::from_le_bytes([low, high]));
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let Some(end) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0)) else {
                return Ok(None);
            };
            at += end + 1;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    Ok((bytes.len() >= at).then_some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(mut codec: Inflate, input: &[u8], chunk: usize) -> std::result::Result<Vec<u8>, String> {
        let mut out = Vec::new();
        for piece in input.chunks(chunk) {
            let mut rest = piece;
            loop {
                let (bytes, used, more) = codec.step(rest, false)?;
                out.extend(bytes);
                rest = &rest[used..];
                if !more {
                    break;
                }
            }
        }
        loop {
            let (bytes, _, more) = codec.step(&[], true)?;
            out.extend(bytes);
            if !more {
                return Ok(out);
            }
        }
    }

    fn packed(format: &str, data: &[u8]) -> Vec<u8> {
        let level = Compression::default();
        match format {
            "gzip" => {
                let mut writer = flate2::GzBuilder::new().filename("name").write(Vec::new(), level);
                writer.write_all(data).unwrap();
                writer.finish().unwrap()
            }
            _ => {
                let mut writer = ZlibEncoder::new(Vec::new(), level);
                writer.write_all(data).unwrap();
                writer.finish().unwrap()
            }
        }
    }

    fn fresh(format: &str) -> Inflate {
        if format == "gzip" {
            Inflate::new(Head::Gzip(Vec::new()), false)
        } else {
            Inflate::new(Head::None, true)
        }
    }

    #[test]
    fn any_chunking_gives_the_same_and_steps_are_bounded() {
        let data: Vec<u8> = (0..300_000u32).map(|i| (i / 1000) as u8).collect();
        for format in ["gzip", "deflate"] {
            let input = packed(format, &data);
            for chunk in [1, 7, input.len()] {
                assert_eq!(inflate(fresh(format), &input, chunk).unwrap(), data, "{format} {chunk}");
            }
            let (out, ..) = {
                let mut codec = fresh(format);
                let (_, used, _) = codec.step(&input, false).unwrap();
                if used == input.len() {
                    (Vec::new(), 0, false)
                } else {
                    codec.step(&input[used..], false).unwrap()
                }
            };
            assert!(out.len() <= MAX_STEP);
        }
    }

    #[test]
    fn truncated_trailing_and_corrupt_data_is_refused() {
        for format in ["gzip", "deflate"] {
            let input = packed(format, b"hello hello hello");
            for length in 0..input.len() {
                assert!(inflate(fresh(format), &input[..length], 5).is_err(), "{format} {length}");
            }
            let mut longer = input.clone();
            longer.push(0);
            assert!(inflate(fresh(format), &longer, 64).is_err());
            let mut corrupt = input.clone();
            let at = corrupt.len() - 6;
            corrupt[at] ^= 1;
            assert!(inflate(fresh(format), &corrupt, 64).is_err());
        }
    }
}
