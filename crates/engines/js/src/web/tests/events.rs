//! Events, AbortSignal, DOMException, MessageChannel.

use super::{eval, run, with};

#[test]
fn listeners_run_in_order_with_their_options() {
    run(r#"
      const t = new EventTarget();
      const seen = [];
      const on = (name, options) => { const f = (e) => seen.push(`${name}:${e.type}`); t.addEventListener('x', f, options); return f; };
      on('a'); const b = on('b', { once: true }); on('c');
      t.addEventListener('x', { handleEvent(e) { seen.push(this !== undefined && e.target === t); } });
      t.addEventListener('x', null);
      ok(t.dispatchEvent(new Event('x')));
      t.dispatchEvent(new Event('x'));
      same(seen, ['a:x', 'b:x', 'c:x', true, 'a:x', 'c:x', true]);
      t.removeEventListener('x', b);
      const u = new EventTarget();
      let count = 0;
      const f = () => count++;
      u.addEventListener('y', f); u.addEventListener('y', f); u.dispatchEvent(new Event('y'));
      same(count, 1);
      u.addEventListener('z', (e) => { e.preventDefault(); e.stopImmediatePropagation(); });
      u.addEventListener('z', () => count++);
      const e = new Event('z', { cancelable: true });
      same([u.dispatchEvent(e), e.defaultPrevented, count, e.eventPhase, e.currentTarget, e.target === u], [false, true, 1, 0, null, true]);
      throws(() => u.dispatchEvent({ type: 'x' }), 'TypeError');
      const again = new Event('r');
      let name;
      u.addEventListener('r', () => { try { u.dispatchEvent(again); } catch (error) { name = error.name; } });
      u.dispatchEvent(again);
      same(name, 'InvalidStateError');
      const controller = new AbortController();
      let heard = 0;
      u.addEventListener('s', () => heard++, { signal: controller.signal });
      u.dispatchEvent(new Event('s')); controller.abort(); u.dispatchEvent(new Event('s'));
      same(heard, 1);
    "#);
}

#[test]
fn a_throwing_listener_does_not_stop_the_others() {
    with(|ctx| {
        let lines = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let sink = lines.clone();
        crate::web::console::set_log_hook(
            ctx,
            Box::new(move |_, line| sink.borrow_mut().push(line.to_owned())),
        );
        eval(
            ctx,
            r#"
          const t = new EventTarget();
          let heard = 0;
          t.addEventListener('x', () => { throw new Error('broken'); });
          t.addEventListener('x', () => heard++);
          t.dispatchEvent(new Event('x'));
          same(heard, 1);
        "#,
        );
        assert!(lines.borrow()[0].starts_with("Uncaught Error: broken"), "{:?}", lines.borrow());
    });
}

#[test]
fn kinds_of_events() {
    run(r#"
      const c = new CustomEvent('x', { detail: { a: 1 } });
      same([c.detail, c.type, c instanceof Event, `${c}`], [{ a: 1 }, 'x', true, '[object CustomEvent]']);
      same(new CustomEvent('x').detail, null);
      same([new MessageEvent('m', { data: 5 }).data, new MessageEvent('m').origin], [5, '']);
      const e = new ErrorEvent('error', { message: 'm', error: 7, lineno: 3 });
      same([e.message, e.error, e.lineno, e.filename], ['m', 7, 3, '']);
      throws(() => new PromiseRejectionEvent('x'), 'TypeError');
      class Mine extends Event { constructor() { super('mine'); this.own = 1; } }
      same([new Mine().type, new Mine().own], ['mine', 1]);
      class Bus extends EventTarget {}
      let got; const bus = new Bus(); bus.addEventListener('mine', (ev) => { got = ev; }); bus.dispatchEvent(new Mine());
      same([got instanceof Mine, Event.AT_TARGET, new Event('q').AT_TARGET], [true, 2, 2]);
      ok(new Event('t').timeStamp >= 0);
    "#);
}

#[test]
fn abort_signals() {
    run(r#"
      const c = new AbortController();
      const { signal } = c;
      const seen = [];
      signal.onabort = function (e) { seen.push('on', this === signal, e.type, e.isTrusted); };
      signal.addEventListener('abort', () => seen.push('listener'));
      signal.throwIfAborted();
      same([signal.aborted, signal.reason], [false, undefined]);
      c.abort(); c.abort('again');
      same(seen, ['on', true, 'abort', true, 'listener']);
      same([signal.aborted, signal.reason.name, signal.reason.code, signal.reason instanceof DOMException, signal.reason instanceof Error],
        [true, 'AbortError', 20, true, true]);
      throws(() => signal.throwIfAborted(), 'AbortError');
      same(AbortSignal.abort('why').reason, 'why');
      same(AbortSignal.abort().reason.name, 'AbortError');
      throws(() => new AbortSignal(), 'TypeError');
      throws(() => AbortSignal.timeout(-1), 'TypeError');
    "#);
}

#[test]
fn any_follows_its_sources() {
    run(r#"
      const a = new AbortController(), b = new AbortController();
      const any = AbortSignal.any([a.signal, b.signal]);
      const nested = AbortSignal.any([any]);
      const order = [];
      b.signal.addEventListener('abort', () => order.push('b', nested.aborted));
      any.addEventListener('abort', () => order.push('any'));
      nested.onabort = () => order.push('nested');
      b.abort('r');
      same([order, any.reason, nested.reason, a.signal.aborted], [['b', true, 'any', 'nested'], 'r', 'r', false]);
      same(AbortSignal.any([AbortSignal.abort(1), b.signal]).reason, 1);
      same(AbortSignal.any([]).aborted, false);
      throws(() => AbortSignal.any([{}]), 'TypeError');
    "#);
}

#[test]
fn dom_exceptions() {
    run(r#"
      const e = new DOMException('m', 'NotFoundError');
      same([e.name, e.message, e.code, e instanceof Error, `${e}`], ['NotFoundError', 'm', 8, true, 'NotFoundError: m']);
      same([new DOMException().name, new DOMException('x').code, DOMException.ABORT_ERR, new DOMException('', 'DataCloneError').code], ['Error', 0, 20, 25]);
      same([new DOMException('', 'QuotaExceededError').code, new DOMException('', 'TimeoutError').code], [22, 23]);
    "#);
}

#[test]
fn message_channels_clone() {
    run(r#"
      const { port1, port2 } = new MessageChannel();
      const sent = { a: [1] };
      const got = await new Promise((resolve) => { port2.onmessage = (e) => resolve(e.data); port1.postMessage(sent); });
      same([got, got === sent], [{ a: [1] }, false]);
      throws(() => port1.postMessage(() => {}), 'DataCloneError');
    "#);
}

#[test]
fn any_drops_no_signal_that_can_be_observed_and_keeps_no_other() {
    run(r#"
      const root = new AbortController();
      let heard = 0;
      // Nothing but its listener observes the first one.
      AbortSignal.any([root.signal]).addEventListener('abort', () => heard++);
      const kept = AbortSignal.any([root.signal]);
      for (let i = 0; i < 30_000; i++) AbortSignal.any([root.signal]);
      // A listener that was removed holds nothing.
      for (let i = 0; i < 11_000; i++) {
        const signal = AbortSignal.any([root.signal]);
        const listen = () => heard += 100;
        signal.addEventListener('abort', listen);
        signal.removeEventListener('abort', listen);
      }
      root.abort('r');
      same([heard, kept.aborted, kept.reason], [1, true, 'r']);
      // One that is aborted by another source is let go by the first.
      const long = new AbortController();
      for (let i = 0; i < 11_000; i++) {
        const short = new AbortController();
        AbortSignal.any([long.signal, short.signal]).addEventListener('abort', () => heard++);
        short.abort();
      }
      same(heard, 11_001);
    "#);
}

#[test]
fn any_refuses_more_live_signals_than_its_cap() {
    run(r#"
      const root = new AbortController(), all = [];
      const error = throws(() => { for (;;) all.push(AbortSignal.any([root.signal])); }, 'RangeError');
      same([all.length, error.message.includes('10000')], [10_000, true]);
      root.abort();
      ok(all.every((signal) => signal.aborted));
    "#);
}
