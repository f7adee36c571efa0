// Streams come on standard input, each behind its length (4 bytes, big endian); for each a line of JSON goes out:
// {"messages": [[method, target, body]], "end": ..., "why": ...}. Bytes are hexadecimal. "end" is "clean" (between two
// messages), "more" (within one), "error" or "closed" (no more is read).
'use strict';

const fs = require('fs');

function read(length) {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const count = fs.readSync(0, bytes, at, length - at, null);
    if (count === 0) process.exit(0);
    at += count;
  }
  return bytes;
}

// Answers each stream with what `split` makes of it, until there are no more.
exports.answer = (split) => {
  for (;;) {
    const answer = split(read(read(4).readUInt32BE(0)));
    fs.writeSync(1, JSON.stringify(answer) + '\n');
  }
};
