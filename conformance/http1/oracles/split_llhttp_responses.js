// Splits byte streams into responses to GET requests as llhttp does, the parser within Node.js, without any of its
// lenient flags. Streams come and go as in split_h11_responses.py.
'use strict';

const { HTTPParser } = require('_http_common');
const { answer } = require('./streams');

function split(data) {
  const messages = [];
  let current = null;
  let status = 0;
  let begun = false;
  let closed = false;
  const parser = new HTTPParser();
  parser.initialize(HTTPParser.RESPONSE, {}, 1 << 20, HTTPParser.kLenientNone);
  parser[HTTPParser.kOnMessageBegin | 0] = () => {
    begun = true;
  };
  parser[HTTPParser.kOnHeaders | 0] = () => {};
  parser[HTTPParser.kOnHeadersComplete | 0] = (major, minor, fields, method, part, code, reason, upgrade, keepAlive) => {
    status = code;
    if (status === 101) throw new Error('switched');
    current = [Buffer.from(String(status)).toString('hex'), '', ''];
    closed = status >= 200 && !keepAlive;
    return 0;
  };
  parser[HTTPParser.kOnBody | 0] = (data, offset, length) => {
    current[2] += (offset === undefined ? data : data.slice(offset, offset + length)).toString('hex');
  };
  parser[HTTPParser.kOnMessageComplete | 0] = () => {
    if (status >= 200) messages.push(current);
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
    } else if (begun) {
      end = 'more';
      parser.finish();
    }
  } catch (error) {
    if (error.message === 'switched') {
      end = 'error';
      why = error.message;
    } else if (error.message !== 'closed') {
      throw error;
    }
  }
  if (closed && current === null && begun === false && end !== 'error') end = 'closed';
  parser.close();
  return { messages, end, why };
}

answer(split);
