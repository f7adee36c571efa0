/** The project's environment variables and secrets. */
const environment = Object.freeze({ __proto__: null, ...JSON.parse(native.variables) });

// What the Rust side calls. It is taken by the Rust side before any module of a project is loaded.
native.ready({
  context: ZuploContext.prototype,
  request: ZuploRequest.prototype,
  adopt,
  describe,
  initialise,
  runRequestHooks,
  runSendingHooks,
  // A policy's function as the Rust side calls it, and as other policies invoke it by name.
  inbound(run, options, name) {
    policies.set(name, { run, options });
    return (request, context) => run(request, context, options, name);
  },
  outbound(run, options, name) {
    policies.set(name, { run, options });
    return (response, request, context) => run(response, request, context, options, name);
  },
  // Handlers of this module have options; a project's own do not.
  handler: (run, options) => (request, context) => run(request, context, options),
  template: (run) => (request, context) => run(request, context, environment),
});

export {
  ConfigurationError,
  ContextData,
  HttpProblems,
  HttpStatusCode,
  ProblemResponseFormatter,
  RuntimeError,
  RuntimeExtensions,
  SystemRuntimePlugin,
  ZuploContext,
  ZuploContext as PolygateContext,
  ZuploRequest,
  ZuploRequest as PolygateRequest,
  environment,
  redirectHandler,
  urlForwardHandler,
  urlRewriteHandler,
};
