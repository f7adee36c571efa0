// setTimeout, setInterval, setImmediate (https://html.spec.whatwg.org/multipage/timers-and-user-prompts.html).
(function (internal, native) {
  'use strict';
  const MAX_DELAY = 2 ** 31 - 1;
  let next = 1;

  function start(callback, delay, repeat, values) {
    if (typeof callback !== 'function') throw new TypeError('The callback of a timer must be a function');
    delay = Number(delay);
    // As browsers do: a delay that is no number or out of range is none.
    if (!(delay >= 0 && delay <= MAX_DELAY)) delay = 0;
    const id = next;
    next = next === 0x7FFFFFFF ? 1 : next + 1;
    native.start(id, repeat && delay < 1 ? 1 : delay, repeat, () => {
      Reflect.apply(callback, internal.global, values);
    });
    return id;
  }

  function stop(id) {
    id = Number(id);
    if (Number.isInteger(id) && id > 0 && id <= 0x7FFFFFFF) native.stop(id);
  }

  return {
    setTimeout(callback, delay = 0, ...values) { return start(callback, delay, false, values); },
    setInterval(callback, delay = 0, ...values) { return start(callback, delay, true, values); },
    setImmediate(callback, ...values) { return start(callback, 0, false, values); },
    clearTimeout(id = undefined) { stop(id); },
    clearInterval(id = undefined) { stop(id); },
    clearImmediate(id = undefined) { stop(id); },
  };
})
