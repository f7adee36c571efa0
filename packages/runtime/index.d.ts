/**
 * What Polygate gives to TypeScript policies and handlers. The gateway supplies the module at run time.
 *
 * Needs `"lib": ["ESNext", "WebWorker"]`.
 */

/** Who sent the request, as an authentication policy of any world found. */
export interface RequestUser<Data = any> {
  /** The subject: consumer name, user id. */
  sub: string;
  /** Claims, consumer metadata and the like. Other worlds see it as JSON, as it was when it was assigned. */
  data: Data;
}

/** What the type parameters of {@link PolygateRequest} may say. */
export interface RequestGeneric {
  /** Type of `params`. */
  Params?: Record<string, string>;
  /** Type of `query`. */
  Query?: Record<string, string | undefined>;
  /** Type of `user.data`. */
  UserData?: any;
}

type ParamsOf<T extends RequestGeneric> = T["Params"] extends Record<string, string> ? T["Params"] : Record<string, string>;
type QueryOf<T extends RequestGeneric> = T["Query"] extends Record<string, string | undefined>
  ? T["Query"]
  : Record<string, string>;
type UserDataOf<T extends RequestGeneric> = unknown extends T["UserData"] ? any : T["UserData"];

/** What a {@link PolygateRequest} may be made with, beside what a `Request` may. */
export interface RequestInitWithRoute<T extends RequestGeneric = RequestGeneric> extends RequestInit {
  /** Path parameters in place of the inherited ones. */
  params?: ParamsOf<T>;
  /** The user in place of the inherited one. */
  user?: RequestUser<UserDataOf<T>>;
}

/** A `Request` that also knows its route's parameters, its query and its user. */
export class ZuploRequest<T extends RequestGeneric = RequestGeneric> extends Request {
  /** Made from another such request, it inherits parameters and user. */
  constructor(input: string | URL | Request, init?: RequestInitWithRoute<T>);
  /** Path parameters, percent-decoded. */
  readonly params: ParamsOf<T>;
  /** Query parameters, decoded; of a name that comes several times, the last. */
  readonly query: QueryOf<T>;
  /** Who sent the request. Assigning it tells every later policy, those of other worlds too. */
  user?: RequestUser<UserDataOf<T>>;
  /** The URL as it was received, whatever policies did since. */
  readonly originalUrl: string;
  /** A copy of the same class; its body can be read independently. */
  clone(): ZuploRequest<T>;
}

export { ZuploRequest as PolygateRequest };

/** A context's log. Lines carry the request's id and the policy's name. */
export interface Logger {
  /** For whoever is searching for a fault. */
  debug(...values: unknown[]): void;
  /** For the record. */
  info(...values: unknown[]): void;
  /** The same as `info`. */
  log(...values: unknown[]): void;
  /** Something may need care. */
  warn(...values: unknown[]): void;
  /** Something failed. */
  error(...values: unknown[]): void;
  /** Adds members to every later line of this exchange. */
  setLogProperties(properties: Record<string, unknown>): void;
}

/** The route that matched. */
export interface RouteConfiguration {
  /** The path as configured. */
  readonly path: string;
  /** The same. */
  readonly pathPattern: string;
  /** The methods it serves, in upper case. */
  readonly methods: readonly string[];
  /** The operation's id. */
  readonly operationId: string | undefined;
  /** The operation's summary. */
  readonly label: string | undefined;
  /** The handler's module as written, and its export. */
  readonly handler: { readonly module: string; readonly export: string };
  /** Names of the route's policies, in order. */
  readonly policies: { readonly inbound: readonly string[]; readonly outbound: readonly string[] };
  /** The whole OpenAPI operation as configured; the same object for all exchanges, so change a copy. */
  raw<T = any>(): T;
}

/** What is known of the connection. Places are not known and stay undefined. */
export interface IncomingRequestProperties {
  readonly asn: number | undefined;
  readonly asOrganization: string | undefined;
  readonly city: string | undefined;
  readonly continent: string | undefined;
  readonly country: string | undefined;
  readonly latitude: string | undefined;
  readonly longitude: string | undefined;
  readonly colo: string | undefined;
  readonly postalCode: string | undefined;
  readonly metroCode: string | undefined;
  readonly region: string | undefined;
  readonly regionCode: string | undefined;
  readonly timezone: string | undefined;
  /** Such as `HTTP/1.1`. */
  readonly httpProtocol: string | undefined;
}

/** May replace the response just before it is sent; given the response of the hook before. */
export interface ResponseSendingHook {
  (response: Response, request: ZuploRequest<any>, context: ZuploContext): Promise<Response> | Response;
}

/** Sees the response just before it is sent. Clone it to read its body. */
export interface ResponseSendingFinalHook {
  (response: Response, request: ZuploRequest<any>, context: ZuploContext): Promise<void> | void;
}

/** What the stages of one exchange share. */
export declare class ZuploContext {
  private constructor();
  /** The request's id, as in the log and in problem responses. */
  readonly requestId: string;
  /** The id of this execution. */
  readonly contextId: string;
  /** Anything that policies and the handler want to hand on. */
  custom: Record<string, any>;
  /** The route that matched. */
  readonly route: RouteConfiguration;
  /** The log. */
  readonly log: Logger;
  /** What is known of the connection. */
  readonly incomingRequestProperties: IncomingRequestProperties;
  /** Keeps the worker at this promise after the response was sent, for at most 30 seconds. */
  waitUntil(promise: Promise<unknown>): void;
  /** Adds a hook that runs after all outbound policies of the route. */
  addResponseSendingHook(hook: ResponseSendingHook): void;
  /** Adds a hook that runs after all response-sending hooks. */
  addResponseSendingFinalHook(hook: ResponseSendingFinalHook): void;
  /** Runs an inbound policy of this project that is written in TypeScript. The request given cannot be used after it. */
  invokeInboundPolicy(name: string, request: ZuploRequest<any>): Promise<ZuploRequest<any> | Response>;
  /** Runs an outbound policy of this project that is written in TypeScript. */
  invokeOutboundPolicy(name: string, response: Response, request: ZuploRequest<any>): Promise<Response>;
}

export { ZuploContext as PolygateContext };

/** An inbound policy. A request (or nothing) goes on; a response ends the exchange. */
export interface InboundPolicyHandler<Options = any> {
  (request: ZuploRequest<any>, context: ZuploContext, options: Options, policyName: string):
    | Promise<Request | Response | undefined | void>
    | Request
    | Response
    | undefined
    | void;
}

/** An outbound policy. */
export interface OutboundPolicyHandler<Options = any> {
  (response: Response, request: ZuploRequest<any>, context: ZuploContext, options: Options, policyName: string):
    | Promise<Response>
    | Response;
}

/** A handler. What is not a Response is sent as JSON with status 200. */
export interface RequestHandler {
  (request: ZuploRequest<any>, context: ZuploContext): Promise<any> | any;
}

/** The project's environment variables and secrets. Also readable while modules load. */
export declare const environment: Readonly<Record<string, string | undefined>>;

/** Members of a problem response (RFC 9457). */
export interface ProblemDetails {
  /** A URL that names the kind of problem. */
  type?: string;
  /** The kind of problem in words. */
  title?: string;
  /** The HTTP status. */
  status: number;
  /** What happened this time. */
  detail?: string;
  /** Where it happened; the request's path when absent. */
  instance?: string;
  /** More members, put beside these. */
  extensions?: Record<string, unknown>;
}

/** What a problem response may say in place of, or beside, what it says by itself. */
export interface ProblemOverrides extends Partial<ProblemDetails> {
  [member: string]: unknown;
}

/** Answers with a problem response of one status. */
export interface HttpProblem {
  (
    request: Request,
    context: ZuploContext,
    overrides?: ProblemOverrides,
    additionalHeaders?: HeadersInit,
  ): Promise<Response>;
}

/** Problem responses, one function a status of the IANA registry. */
export declare class HttpProblems {
  /** 100 Continue; rejects with a RangeError, since no Response can have this status */
  static continue: HttpProblem;
  /** 101 Switching Protocols; rejects with a RangeError, since no Response can have this status */
  static switchingProtocols: HttpProblem;
  /** 102 Processing; rejects with a RangeError, since no Response can have this status */
  static processing: HttpProblem;
  /** 103 Early Hints; rejects with a RangeError, since no Response can have this status */
  static earlyHints: HttpProblem;
  /** 200 OK */
  static ok: HttpProblem;
  /** 201 Created */
  static created: HttpProblem;
  /** 202 Accepted */
  static accepted: HttpProblem;
  /** 203 Non-Authoritative Information */
  static nonAuthoritativeInformation: HttpProblem;
  /** 204 No Content */
  static noContent: HttpProblem;
  /** 205 Reset Content */
  static resetContent: HttpProblem;
  /** 206 Partial Content */
  static partialContent: HttpProblem;
  /** 207 Multi-Status */
  static multiStatus: HttpProblem;
  /** 208 Already Reported */
  static alreadyReported: HttpProblem;
  /** 226 IM Used */
  static imUsed: HttpProblem;
  /** 300 Multiple Choices */
  static multipleChoices: HttpProblem;
  /** 301 Moved Permanently */
  static movedPermanently: HttpProblem;
  /** 302 Found */
  static found: HttpProblem;
  /** 303 See Other */
  static seeOther: HttpProblem;
  /** 304 Not Modified */
  static notModified: HttpProblem;
  /** 305 Use Proxy */
  static useProxy: HttpProblem;
  /** 307 Temporary Redirect */
  static temporaryRedirect: HttpProblem;
  /** 308 Permanent Redirect */
  static permanentRedirect: HttpProblem;
  /** 400 Bad Request */
  static badRequest: HttpProblem;
  /** 401 Unauthorized */
  static unauthorized: HttpProblem;
  /** 402 Payment Required */
  static paymentRequired: HttpProblem;
  /** 403 Forbidden */
  static forbidden: HttpProblem;
  /** 404 Not Found */
  static notFound: HttpProblem;
  /** 405 Method Not Allowed */
  static methodNotAllowed: HttpProblem;
  /** 406 Not Acceptable */
  static notAcceptable: HttpProblem;
  /** 407 Proxy Authentication Required */
  static proxyAuthenticationRequired: HttpProblem;
  /** 408 Request Timeout */
  static requestTimeout: HttpProblem;
  /** 409 Conflict */
  static conflict: HttpProblem;
  /** 410 Gone */
  static gone: HttpProblem;
  /** 411 Length Required */
  static lengthRequired: HttpProblem;
  /** 412 Precondition Failed */
  static preconditionFailed: HttpProblem;
  /** 413 Content Too Large */
  static contentTooLarge: HttpProblem;
  /** 414 URI Too Long */
  static uriTooLong: HttpProblem;
  /** 415 Unsupported Media Type */
  static unsupportedMediaType: HttpProblem;
  /** 416 Range Not Satisfiable */
  static rangeNotSatisfiable: HttpProblem;
  /** 417 Expectation Failed */
  static expectationFailed: HttpProblem;
  /** 418 I'm a Teapot */
  static imATeapot: HttpProblem;
  /** 421 Misdirected Request */
  static misdirectedRequest: HttpProblem;
  /** 422 Unprocessable Content */
  static unprocessableContent: HttpProblem;
  /** 423 Locked */
  static locked: HttpProblem;
  /** 424 Failed Dependency */
  static failedDependency: HttpProblem;
  /** 425 Too Early */
  static tooEarly: HttpProblem;
  /** 426 Upgrade Required */
  static upgradeRequired: HttpProblem;
  /** 428 Precondition Required */
  static preconditionRequired: HttpProblem;
  /** 429 Too Many Requests */
  static tooManyRequests: HttpProblem;
  /** 431 Request Header Fields Too Large */
  static requestHeaderFieldsTooLarge: HttpProblem;
  /** 451 Unavailable For Legal Reasons */
  static unavailableForLegalReasons: HttpProblem;
  /** 500 Internal Server Error */
  static internalServerError: HttpProblem;
  /** 501 Not Implemented */
  static notImplemented: HttpProblem;
  /** 502 Bad Gateway */
  static badGateway: HttpProblem;
  /** 503 Service Unavailable */
  static serviceUnavailable: HttpProblem;
  /** 504 Gateway Timeout */
  static gatewayTimeout: HttpProblem;
  /** 505 HTTP Version Not Supported */
  static httpVersionNotSupported: HttpProblem;
  /** 506 Variant Also Negotiates */
  static variantAlsoNegotiates: HttpProblem;
  /** 507 Insufficient Storage */
  static insufficientStorage: HttpProblem;
  /** 508 Loop Detected */
  static loopDetected: HttpProblem;
  /** 510 Not Extended */
  static notExtended: HttpProblem;
  /** 511 Network Authentication Required */
  static networkAuthenticationRequired: HttpProblem;
}

/** Makes problem responses. */
export declare class ProblemResponseFormatter {
  /** A response of type `application/problem+json`. */
  static format(
    problem: ProblemDetails,
    request: Request,
    context: ZuploContext,
    additionalHeaders?: HeadersInit,
  ): Promise<Response>;
}

/** HTTP statuses by name, in both spellings. */
export declare const HttpStatusCode: {
  /** 100 Continue */
  readonly Continue: 100;
  /** 100 Continue */
  readonly CONTINUE: 100;
  /** 101 Switching Protocols */
  readonly SwitchingProtocols: 101;
  /** 101 Switching Protocols */
  readonly SWITCHING_PROTOCOLS: 101;
  /** 102 Processing */
  readonly Processing: 102;
  /** 102 Processing */
  readonly PROCESSING: 102;
  /** 103 Early Hints */
  readonly EarlyHints: 103;
  /** 103 Early Hints */
  readonly EARLY_HINTS: 103;
  /** 200 OK */
  readonly Ok: 200;
  /** 200 OK */
  readonly OK: 200;
  /** 201 Created */
  readonly Created: 201;
  /** 201 Created */
  readonly CREATED: 201;
  /** 202 Accepted */
  readonly Accepted: 202;
  /** 202 Accepted */
  readonly ACCEPTED: 202;
  /** 203 Non-Authoritative Information */
  readonly NonAuthoritativeInformation: 203;
  /** 203 Non-Authoritative Information */
  readonly NON_AUTHORITATIVE_INFORMATION: 203;
  /** 204 No Content */
  readonly NoContent: 204;
  /** 204 No Content */
  readonly NO_CONTENT: 204;
  /** 205 Reset Content */
  readonly ResetContent: 205;
  /** 205 Reset Content */
  readonly RESET_CONTENT: 205;
  /** 206 Partial Content */
  readonly PartialContent: 206;
  /** 206 Partial Content */
  readonly PARTIAL_CONTENT: 206;
  /** 207 Multi-Status */
  readonly MultiStatus: 207;
  /** 207 Multi-Status */
  readonly MULTI_STATUS: 207;
  /** 208 Already Reported */
  readonly AlreadyReported: 208;
  /** 208 Already Reported */
  readonly ALREADY_REPORTED: 208;
  /** 226 IM Used */
  readonly ImUsed: 226;
  /** 226 IM Used */
  readonly IM_USED: 226;
  /** 300 Multiple Choices */
  readonly MultipleChoices: 300;
  /** 300 Multiple Choices */
  readonly MULTIPLE_CHOICES: 300;
  /** 301 Moved Permanently */
  readonly MovedPermanently: 301;
  /** 301 Moved Permanently */
  readonly MOVED_PERMANENTLY: 301;
  /** 302 Found */
  readonly Found: 302;
  /** 302 Found */
  readonly FOUND: 302;
  /** 303 See Other */
  readonly SeeOther: 303;
  /** 303 See Other */
  readonly SEE_OTHER: 303;
  /** 304 Not Modified */
  readonly NotModified: 304;
  /** 304 Not Modified */
  readonly NOT_MODIFIED: 304;
  /** 305 Use Proxy */
  readonly UseProxy: 305;
  /** 305 Use Proxy */
  readonly USE_PROXY: 305;
  /** 307 Temporary Redirect */
  readonly TemporaryRedirect: 307;
  /** 307 Temporary Redirect */
  readonly TEMPORARY_REDIRECT: 307;
  /** 308 Permanent Redirect */
  readonly PermanentRedirect: 308;
  /** 308 Permanent Redirect */
  readonly PERMANENT_REDIRECT: 308;
  /** 400 Bad Request */
  readonly BadRequest: 400;
  /** 400 Bad Request */
  readonly BAD_REQUEST: 400;
  /** 401 Unauthorized */
  readonly Unauthorized: 401;
  /** 401 Unauthorized */
  readonly UNAUTHORIZED: 401;
  /** 402 Payment Required */
  readonly PaymentRequired: 402;
  /** 402 Payment Required */
  readonly PAYMENT_REQUIRED: 402;
  /** 403 Forbidden */
  readonly Forbidden: 403;
  /** 403 Forbidden */
  readonly FORBIDDEN: 403;
  /** 404 Not Found */
  readonly NotFound: 404;
  /** 404 Not Found */
  readonly NOT_FOUND: 404;
  /** 405 Method Not Allowed */
  readonly MethodNotAllowed: 405;
  /** 405 Method Not Allowed */
  readonly METHOD_NOT_ALLOWED: 405;
  /** 406 Not Acceptable */
  readonly NotAcceptable: 406;
  /** 406 Not Acceptable */
  readonly NOT_ACCEPTABLE: 406;
  /** 407 Proxy Authentication Required */
  readonly ProxyAuthenticationRequired: 407;
  /** 407 Proxy Authentication Required */
  readonly PROXY_AUTHENTICATION_REQUIRED: 407;
  /** 408 Request Timeout */
  readonly RequestTimeout: 408;
  /** 408 Request Timeout */
  readonly REQUEST_TIMEOUT: 408;
  /** 409 Conflict */
  readonly Conflict: 409;
  /** 409 Conflict */
  readonly CONFLICT: 409;
  /** 410 Gone */
  readonly Gone: 410;
  /** 410 Gone */
  readonly GONE: 410;
  /** 411 Length Required */
  readonly LengthRequired: 411;
  /** 411 Length Required */
  readonly LENGTH_REQUIRED: 411;
  /** 412 Precondition Failed */
  readonly PreconditionFailed: 412;
  /** 412 Precondition Failed */
  readonly PRECONDITION_FAILED: 412;
  /** 413 Content Too Large */
  readonly ContentTooLarge: 413;
  /** 413 Content Too Large */
  readonly CONTENT_TOO_LARGE: 413;
  /** 414 URI Too Long */
  readonly UriTooLong: 414;
  /** 414 URI Too Long */
  readonly URI_TOO_LONG: 414;
  /** 415 Unsupported Media Type */
  readonly UnsupportedMediaType: 415;
  /** 415 Unsupported Media Type */
  readonly UNSUPPORTED_MEDIA_TYPE: 415;
  /** 416 Range Not Satisfiable */
  readonly RangeNotSatisfiable: 416;
  /** 416 Range Not Satisfiable */
  readonly RANGE_NOT_SATISFIABLE: 416;
  /** 417 Expectation Failed */
  readonly ExpectationFailed: 417;
  /** 417 Expectation Failed */
  readonly EXPECTATION_FAILED: 417;
  /** 418 I'm a Teapot */
  readonly ImATeapot: 418;
  /** 418 I'm a Teapot */
  readonly IM_A_TEAPOT: 418;
  /** 421 Misdirected Request */
  readonly MisdirectedRequest: 421;
  /** 421 Misdirected Request */
  readonly MISDIRECTED_REQUEST: 421;
  /** 422 Unprocessable Content */
  readonly UnprocessableContent: 422;
  /** 422 Unprocessable Content */
  readonly UNPROCESSABLE_CONTENT: 422;
  /** 423 Locked */
  readonly Locked: 423;
  /** 423 Locked */
  readonly LOCKED: 423;
  /** 424 Failed Dependency */
  readonly FailedDependency: 424;
  /** 424 Failed Dependency */
  readonly FAILED_DEPENDENCY: 424;
  /** 425 Too Early */
  readonly TooEarly: 425;
  /** 425 Too Early */
  readonly TOO_EARLY: 425;
  /** 426 Upgrade Required */
  readonly UpgradeRequired: 426;
  /** 426 Upgrade Required */
  readonly UPGRADE_REQUIRED: 426;
  /** 428 Precondition Required */
  readonly PreconditionRequired: 428;
  /** 428 Precondition Required */
  readonly PRECONDITION_REQUIRED: 428;
  /** 429 Too Many Requests */
  readonly TooManyRequests: 429;
  /** 429 Too Many Requests */
  readonly TOO_MANY_REQUESTS: 429;
  /** 431 Request Header Fields Too Large */
  readonly RequestHeaderFieldsTooLarge: 431;
  /** 431 Request Header Fields Too Large */
  readonly REQUEST_HEADER_FIELDS_TOO_LARGE: 431;
  /** 451 Unavailable For Legal Reasons */
  readonly UnavailableForLegalReasons: 451;
  /** 451 Unavailable For Legal Reasons */
  readonly UNAVAILABLE_FOR_LEGAL_REASONS: 451;
  /** 500 Internal Server Error */
  readonly InternalServerError: 500;
  /** 500 Internal Server Error */
  readonly INTERNAL_SERVER_ERROR: 500;
  /** 501 Not Implemented */
  readonly NotImplemented: 501;
  /** 501 Not Implemented */
  readonly NOT_IMPLEMENTED: 501;
  /** 502 Bad Gateway */
  readonly BadGateway: 502;
  /** 502 Bad Gateway */
  readonly BAD_GATEWAY: 502;
  /** 503 Service Unavailable */
  readonly ServiceUnavailable: 503;
  /** 503 Service Unavailable */
  readonly SERVICE_UNAVAILABLE: 503;
  /** 504 Gateway Timeout */
  readonly GatewayTimeout: 504;
  /** 504 Gateway Timeout */
  readonly GATEWAY_TIMEOUT: 504;
  /** 505 HTTP Version Not Supported */
  readonly HttpVersionNotSupported: 505;
  /** 505 HTTP Version Not Supported */
  readonly HTTP_VERSION_NOT_SUPPORTED: 505;
  /** 506 Variant Also Negotiates */
  readonly VariantAlsoNegotiates: 506;
  /** 506 Variant Also Negotiates */
  readonly VARIANT_ALSO_NEGOTIATES: 506;
  /** 507 Insufficient Storage */
  readonly InsufficientStorage: 507;
  /** 507 Insufficient Storage */
  readonly INSUFFICIENT_STORAGE: 507;
  /** 508 Loop Detected */
  readonly LoopDetected: 508;
  /** 508 Loop Detected */
  readonly LOOP_DETECTED: 508;
  /** 510 Not Extended */
  readonly NotExtended: 510;
  /** 510 Not Extended */
  readonly NOT_EXTENDED: 510;
  /** 511 Network Authentication Required */
  readonly NetworkAuthenticationRequired: 511;
  /** 511 Network Authentication Required */
  readonly NETWORK_AUTHENTICATION_REQUIRED: 511;
};

/** One of the statuses. */
export type HttpStatusCode = (typeof HttpStatusCode)[keyof typeof HttpStatusCode];

/** What a {@link RuntimeError} may be made with. */
export interface RuntimeErrorOptions {
  /** For the log. */
  message: string;
  /** For the client: members of the problem response. */
  extensionMembers?: Record<string, unknown>;
}

/** An error whose `extensionMembers` the client is shown; its message goes to the log alone. */
export declare class RuntimeError extends Error {
  constructor(messageOrOptions: string | RuntimeErrorOptions, options?: ErrorOptions);
  /** Members of the problem response. */
  extensionMembers?: Record<string, unknown>;
}

/** Something in the project's configuration is wrong. */
export declare class ConfigurationError extends RuntimeError {}

/** Data of one's own for a context. */
export declare class ContextData<T = any> {
  constructor(key: string | symbol);
  /** What was set for this context and key. */
  get(context: ZuploContext): T | undefined;
  /** Sets it. */
  set(context: ZuploContext, value: T): void;
  /** What was set for this context and key. */
  static get<T = any>(context: ZuploContext, key: string | symbol): T | undefined;
  /** Sets it. */
  static set<T = any>(context: ZuploContext, key: string | symbol, value: T): void;
}

/** May replace the request, or answer, before the inbound policies of a route. */
export interface RequestHook {
  (request: ZuploRequest<any>, context: ZuploContext):
    | Promise<Request | Response | undefined | void>
    | Request
    | Response
    | undefined
    | void;
}

/** Base of a project's own plugins. */
export declare class SystemRuntimePlugin {
  /** Called once the project's `runtimeInit` has returned. */
  initialize(runtime: RuntimeExtensions): Promise<void>;
}

/**
 * What `runtimeInit`, the export of `modules/polygate.runtime.ts` or `modules/zuplo.runtime.ts`, is given.
 *
 * Hooks run on routes that have a policy or handler written in TypeScript.
 */
export declare class RuntimeExtensions {
  /** Adds a hook that runs before the inbound policies. */
  addRequestHook(hook: RequestHook): void;
  /** Adds a hook that runs after the outbound policies, before those of the exchange itself. */
  addResponseSendingHook(hook: ResponseSendingHook): void;
  /** Adds a hook that runs after all response-sending hooks. */
  addResponseSendingFinalHook(hook: ResponseSendingFinalHook): void;
  /** Adds a plugin. */
  addPlugin(plugin: { initialize(runtime: RuntimeExtensions): Promise<void> | void }): void;
}

/** Options of {@link urlForwardHandler}. */
export interface UrlForwardOptions {
  /** Where to: the request's own path is put behind it. */
  baseUrl: string;
  /** Whether the query goes along. Default true. */
  forwardSearch?: boolean;
  /** Whether redirections are followed here. Default false: the client gets them. */
  followRedirects?: boolean;
}

/** Forwards the request to `baseUrl` and its own path. */
export declare function urlForwardHandler(
  request: Request,
  context: ZuploContext,
  options: UrlForwardOptions,
): Promise<Response>;

/** Options of {@link urlRewriteHandler}. */
export interface UrlRewriteOptions {
  /** Where to. */
  rewritePattern: string;
  /** Whether the query is added to that of the pattern. Default true. */
  forwardSearch?: boolean;
  /** Whether redirections are followed here. Default false: the client gets them. */
  followRedirects?: boolean;
}

/** Forwards the request to `rewritePattern`. */
export declare function urlRewriteHandler(
  request: Request,
  context: ZuploContext,
  options: UrlRewriteOptions,
): Promise<Response>;

/** Options of {@link redirectHandler}. */
export interface RedirectOptions {
  /** Where the client is to go. */
  location: string;
  /** Default 302. */
  status?: 301 | 302 | 303 | 307 | 308;
}

/** Answers with a redirection. */
export declare function redirectHandler(
  request: Request,
  context: ZuploContext,
  options: RedirectOptions,
): Promise<Response>;
