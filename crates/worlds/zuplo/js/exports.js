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
  // Makes a policy known by its name, to be invoked by other policies.
  know(run, options, name) { policies.set(name, { run, options }); },
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
