import { HttpProblems, type PolygateContext, type PolygateRequest } from "@polygate/runtime";

/** What config/policies.json says under "options". */
interface Options {
  header: string;
  key: string;
}

/** Lets a request pass when it carries the key; the upstream does not get to see it. */
export default async function needKey(request: PolygateRequest, context: PolygateContext, options: Options) {
  if (request.headers.get(options.header) !== options.key) {
    context.log.warn("no key, or a wrong one");
    return HttpProblems.unauthorized(request, context, { detail: `Send your key in the header ${options.header}` });
  }
  request.headers.delete(options.header);
  return request;
}
