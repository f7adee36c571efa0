// performance (https://w3c.github.io/hr-time/, the minimum) and navigator.
(function (internal, native) {
  'use strict';
  const { now, origin, userAgent } = native;
  const KEY = Symbol('Performance');

  class Performance {
    constructor(key) { if (key !== KEY) throw new TypeError('Illegal constructor'); }
    now() { return now(); }
    get timeOrigin() { return origin; }
    toJSON() { return { timeOrigin: origin }; }
    mark() {}
    measure() {}
    clearMarks() {}
    clearMeasures() {}
    getEntries() { return []; }
    getEntriesByName() { return []; }
    getEntriesByType() { return []; }
  }
  internal.idl(Performance);

  class Navigator {
    constructor(key) { if (key !== KEY) throw new TypeError('Illegal constructor'); }
    get userAgent() { return userAgent; }
    get hardwareConcurrency() { return 1; }
    get language() { return 'en-US'; }
    get languages() { return Object.freeze(['en-US']); }
    get onLine() { return true; }
  }
  internal.idl(Navigator);

  return { Performance, performance: new Performance(KEY), Navigator, navigator: new Navigator(KEY) };
})
