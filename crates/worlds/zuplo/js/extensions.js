// What `runtimeInit` is given, and the hooks it leaves behind.
const requestHooks = [];
const sendingHooks = [];
const finalHooks = [];
const plugins = [];

/** Base of a project's own plugins: `initialize` is called once the project's `runtimeInit` has returned. */
class SystemRuntimePlugin {
  async initialize(runtime) {}
}

class RuntimeExtensions {
  addRequestHook(hook) {
    requireFunction(hook, 'addRequestHook');
    requestHooks.push(hook);
  }

  addResponseSendingHook(hook) {
    requireFunction(hook, 'addResponseSendingHook');
    sendingHooks.push(hook);
  }

  addResponseSendingFinalHook(hook) {
    requireFunction(hook, 'addResponseSendingFinalHook');
    finalHooks.push(hook);
  }

  addPlugin(plugin) {
    if (typeof plugin?.initialize !== 'function') {
      throw new ConfigurationError(`addPlugin needs a plugin with a method 'initialize', not ${describe(plugin)}`);
    }
    plugins.push(plugin);
  }
}
// Refused loudly: a hook that never runs would be worse.
for (const name of ['addPreRoutingHook', 'addErrorHandler']) {
  hide(RuntimeExtensions.prototype, name, () => {
    throw new ConfigurationError(`RuntimeExtensions.${name} is not supported`);
  });
}
for (const name of ['notFoundHandler', 'problemResponseFormat']) {
  define(RuntimeExtensions.prototype, name, {
    configurable: true,
    get() { return undefined; },
    set() { throw new ConfigurationError(`RuntimeExtensions.${name} is not supported`); },
  });
}

/** Runs a project's `runtimeInit`; says whether hooks for requests and for responses were left. */
async function initialise(runtimeInit) {
  const runtime = new RuntimeExtensions();
  if (runtimeInit !== undefined) await runtimeInit(runtime);
  for (const plugin of plugins) await plugin.initialize(runtime);
  return (requestHooks.length > 0 ? 1 : 0) + (sendingHooks.length + finalHooks.length > 0 ? 2 : 0);
}

/** The request hooks: a request to go on with, or a response. */
async function runRequestHooks(request, context) {
  for (const hook of requestHooks) {
    const result = await hook(request, context);
    if (result === undefined) continue;
    if (result instanceof Response) return result;
    if (!(result instanceof Request)) {
      throw new RuntimeError(`A request hook must return a Request or a Response, it returned ${describe(result)}`);
    }
    if (result !== request) request = adopt(result, request, context);
  }
  return request;
}

/**
 * The response-sending hooks, each with the response of the one before, then the final hooks: those of the runtime, then
 * those that policies left, also the ones that hooks leave while they run.
 */
async function runSendingHooks(response, request, context) {
  for (let hooks = sendingHooks; hooks !== undefined; hooks = native.takeHooks(context, false)) {
    for (const hook of hooks) {
      const result = await hook(response, request, context);
      if (!(result instanceof Response)) {
        throw new RuntimeError(`A response-sending hook must return a Response, it returned ${describe(result)}`);
      }
      response = result;
    }
  }
  for (let hooks = finalHooks; hooks !== undefined; hooks = native.takeHooks(context, true)) {
    for (const hook of hooks) {
      try {
        await hook(response, request, context);
      } catch (error) {
        native.log(LEVELS.error, `a final hook failed: ${text(error)}`, undefined);
      }
    }
  }
  return response;
}
