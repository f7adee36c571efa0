globalThis.same = (found, wanted, what = '') => {
  const text = (value) => JSON.stringify(value, (key, item) =>
    item === undefined ? '(undefined)' : typeof item === 'bigint' ? `${item}n` : item instanceof Uint8Array ? [...item] : item);
  if (text(found) !== text(wanted)) throw new Error(`${what} found ${text(found)}, wanted ${text(wanted)}`);
};
globalThis.ok = (value, what = '') => {
  if (!value) throw new Error(`not so: ${what}`);
};
globalThis.throws = (run, name) => {
  try {
    run();
  } catch (error) {
    if (error.name !== name) throw new Error(`threw ${error.name}: ${error.message}, wanted ${name}`);
    return error;
  }
  throw new Error(`did not throw ${name}`);
};
globalThis.rejects = async (promise, name) => {
  try {
    await promise;
  } catch (error) {
    if (error.name !== name) throw new Error(`rejected with ${error.name}: ${error.message}, wanted ${name}`);
    return error;
  }
  throw new Error(`did not reject with ${name}`);
};
