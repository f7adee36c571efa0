import { HttpProblems, type PolygateContext, type PolygateRequest } from "@polygate/runtime";

interface Options {
  /** The header that carries the key. */
  header: string;
  /** The keys that are let in, with commas between them. */
  keys: string;
}

/** Lets a request pass when it carries a known key, and says who it is. */
export default async function needKey(request: PolygateRequest, context: PolygateContext, options: Options) {
  const key = request.headers.get(options.header);
  if (key === null || !options.keys.split(",").includes(key)) {
    return HttpProblems.unauthorized(request, context, { detail: `Send a key in ${options.header}` });
  }
  request.user = { sub: key, data: { plan: "free" } };
  request.headers.delete(options.header);
  return request;
}
