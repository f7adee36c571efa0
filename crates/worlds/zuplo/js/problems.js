// Statuses of the IANA registry: code, name of the static, reason phrase.
const STATUSES = [
  [100, 'continue', 'Continue'],
  [101, 'switchingProtocols', 'Switching Protocols'],
  [102, 'processing', 'Processing'],
  [103, 'earlyHints', 'Early Hints'],
  [200, 'ok', 'OK'],
  [201, 'created', 'Created'],
  [202, 'accepted', 'Accepted'],
  [203, 'nonAuthoritativeInformation', 'Non-Authoritative Information'],
  [204, 'noContent', 'No Content'],
  [205, 'resetContent', 'Reset Content'],
  [206, 'partialContent', 'Partial Content'],
  [207, 'multiStatus', 'Multi-Status'],
  [208, 'alreadyReported', 'Already Reported'],
  [226, 'imUsed', 'IM Used'],
  [300, 'multipleChoices', 'Multiple Choices'],
  [301, 'movedPermanently', 'Moved Permanently'],
  [302, 'found', 'Found'],
  [303, 'seeOther', 'See Other'],
  [304, 'notModified', 'Not Modified'],
  [305, 'useProxy', 'Use Proxy'],
  [307, 'temporaryRedirect', 'Temporary Redirect'],
  [308, 'permanentRedirect', 'Permanent Redirect'],
  [400, 'badRequest', 'Bad Request'],
  [401, 'unauthorized', 'Unauthorized'],
  [402, 'paymentRequired', 'Payment Required'],
  [403, 'forbidden', 'Forbidden'],
  [404, 'notFound', 'Not Found'],
  [405, 'methodNotAllowed', 'Method Not Allowed'],
  [406, 'notAcceptable', 'Not Acceptable'],
  [407, 'proxyAuthenticationRequired', 'Proxy Authentication Required'],
  [408, 'requestTimeout', 'Request Timeout'],
  [409, 'conflict', 'Conflict'],
  [410, 'gone', 'Gone'],
  [411, 'lengthRequired', 'Length Required'],
  [412, 'preconditionFailed', 'Precondition Failed'],
  [413, 'contentTooLarge', 'Content Too Large'],
  [414, 'uriTooLong', 'URI Too Long'],
  [415, 'unsupportedMediaType', 'Unsupported Media Type'],
  [416, 'rangeNotSatisfiable', 'Range Not Satisfiable'],
  [417, 'expectationFailed', 'Expectation Failed'],
  [418, 'imATeapot', "I'm a Teapot"],
  [421, 'misdirectedRequest', 'Misdirected Request'],
  [422, 'unprocessableContent', 'Unprocessable Content'],
  [423, 'locked', 'Locked'],
  [424, 'failedDependency', 'Failed Dependency'],
  [425, 'tooEarly', 'Too Early'],
  [426, 'upgradeRequired', 'Upgrade Required'],
  [428, 'preconditionRequired', 'Precondition Required'],
  [429, 'tooManyRequests', 'Too Many Requests'],
  [431, 'requestHeaderFieldsTooLarge', 'Request Header Fields Too Large'],
  [451, 'unavailableForLegalReasons', 'Unavailable For Legal Reasons'],
  [500, 'internalServerError', 'Internal Server Error'],
  [501, 'notImplemented', 'Not Implemented'],
  [502, 'badGateway', 'Bad Gateway'],
  [503, 'serviceUnavailable', 'Service Unavailable'],
  [504, 'gatewayTimeout', 'Gateway Timeout'],
  [505, 'httpVersionNotSupported', 'HTTP Version Not Supported'],
  [506, 'variantAlsoNegotiates', 'Variant Also Negotiates'],
  [507, 'insufficientStorage', 'Insufficient Storage'],
  [508, 'loopDetected', 'Loop Detected'],
  [510, 'notExtended', 'Not Extended'],
  [511, 'networkAuthenticationRequired', 'Network Authentication Required'],
];

/** Statuses by name, as `TooManyRequests` and as `TOO_MANY_REQUESTS`. */
const HttpStatusCode = {};
for (const [code, name] of STATUSES) {
  HttpStatusCode[name[0].toUpperCase() + name.slice(1)] = code;
  HttpStatusCode[name.replace(/[A-Z]/g, '_$&').toUpperCase()] = code;
}
Object.freeze(HttpStatusCode);

const TITLES = new Map(STATUSES.map(([code, , title]) => [code, title]));
const NULL_BODY = new Set([101, 204, 205, 304]);

/** A URL's path. */
function pathOf(url) {
  const start = url.indexOf('/', url.indexOf('://') + 3);
  if (start < 0) return '/';
  const end = url.slice(start).search(/[?#]/);
  return end < 0 ? url.slice(start) : url.slice(start, start + end);
}

/** Responses that say what went wrong in the form of RFC 9457. */
class ProblemResponseFormatter {
  static async format(problem, request, context, additionalHeaders = undefined) {
    const { extensions, ...members } = problem;
    const body = {
      type: `https://httpproblems.com/http-status/${problem.status}`,
      title: TITLES.get(problem.status),
      instance: pathOf(request.url),
      ...members,
      ...extensions,
      trace: {
        timestamp: new Date().toISOString(),
        requestId: context.requestId,
        buildId: native.buildId,
        ...members.trace,
        ...extensions?.trace,
      },
    };
    const headers = new Headers({ 'content-type': 'application/problem+json' });
    if (additionalHeaders !== undefined && additionalHeaders !== null) {
      new Headers(additionalHeaders).forEach((value, name) => headers.set(name, value));
    }
    const { status } = problem;
    const statusText = TITLES.get(status) ?? '';
    if (NULL_BODY.has(status)) {
      headers.delete('content-type');
      return new Response(null, { status, statusText, headers });
    }
    return new Response(JSON.stringify(body, undefined, 2), { status, statusText, headers });
  }
}

/** One function a status: `HttpProblems.unauthorized(request, context, overrides, additionalHeaders)`. */
class HttpProblems {}
for (const [status, name, title] of STATUSES) {
  hide(HttpProblems, name, { async [name](request, context, overrides = undefined, additionalHeaders = undefined) {
    const problem = { type: `https://httpproblems.com/http-status/${status}`, title, status, ...overrides };
    return ProblemResponseFormatter.format(problem, request, context, additionalHeaders);
  } }[name]);
}
