// The forwarding handlers as functions, for handlers of a project that decide themselves. Routes that name them in
// their configuration are served without entering JavaScript.

/** Sends the request to `url`, as the forwarding handlers do. */
function forward(request, url, options) {
  return fetch(new Request(url, request), { redirect: options.followRedirects === true ? 'follow' : 'manual' });
}

function requireText(value, name, handler) {
  if (typeof value !== 'string' || value === '') {
    throw new ConfigurationError(`${handler} needs the option '${name}', a URL`);
  }
  return value;
}

/** Forwards to `baseUrl` followed by the request's own path. */
async function urlForwardHandler(request, context, options) {
  const base = requireText(options?.baseUrl, 'baseUrl', 'urlForwardHandler');
  const { pathname, search } = new URL(request.url);
  const path = `${base.replace(/\/+$/, '')}${pathname}`;
  return forward(request, options.forwardSearch === false ? path : `${path}${search}`, options);
}

/** Forwards to `rewritePattern`. */
async function urlRewriteHandler(request, context, options) {
  const url = new URL(requireText(options?.rewritePattern, 'rewritePattern', 'urlRewriteHandler'));
  if (options.forwardSearch !== false) {
    const { search } = new URL(request.url);
    if (search !== '') url.search = url.search === '' ? search : `${url.search}&${search.slice(1)}`;
  }
  return forward(request, url, options);
}

/** Answers with a redirection. */
async function redirectHandler(request, context, options) {
  const location = requireText(options?.location, 'location', 'redirectHandler');
  return new Response(null, { status: options.status ?? 302, headers: { location } });
}
