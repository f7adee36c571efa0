// Splits byte streams into requests as llhttp does, the parser within Node.js, without any of its lenient flags. Streams
// come and go as in streams.js.
'use strict';

const { HTTPParser, methods } = require('_http_common');
const { answer } = require('./streams');

const hex = (text) => Buffer.from(text, 'latin1').toString('hex');

function split(data) {
  const messages = [];
  let current = null;
  let url = '';
  let begun = false;
  let closed = false;
  const parser = new HTTPParser();
  parser.initialize(HTTPParser.REQUEST, {}, 1 << 20, HTTPParser.kLenientNone);
  parser[HTTPParser.kOnMessageBegin | 0] = () => {
    begun = true;
    url = '';
  };
  // Called in between when there are many fields.
  parser[HTTPParser.kOnHeaders | 0] = (fields, part) => {
    url += part;
  };
  parser[HTTPParser.kOnHeadersComplete | 0] = (major, minor, fields, method, part, status, reason, upgrade, keepAlive) => {
    current = [hex(methods[method]), hex(url + (part || '')), ''];
    closed = !keepAlive || upgrade;
    return 0;
  };
  parser[HTTPParser.kOnBody | 0] = (data, offset, length) => {
    current[2] += (offset === undefined ? data : data.slice(offset, offset + length)).toString('hex');
  };
  parser[HTTPParser.kOnMessageComplete | 0] = () => {
    messages.push(current);
    current = null;
    begun = false;
    if (closed) throw new Error('closed');
  };
  let end = 'clean';
  let why = '';
  try {
    const result = parser.execute(data, 0, data.length);
    if (result instanceof Error) {
      end = 'error';
      why = `${result.code} ${result.reason || ''}`;
    } else if (begun && result < data.length) {
      // Node.js tells no error of a message that wishes for an upgrade, only where the parser has stopped.
      end = 'error';
      why = 'stopped within a wish for an upgrade';
    } else if (begun) {
      end = 'more';
    }
  } catch (error) {
    if (error.message !== 'closed') throw error;
  }
  if (closed && current === null) end = 'closed';
  parser.close();
  return { messages, end, why };
}

answer(split);
