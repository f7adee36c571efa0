import type { PolygateContext, PolygateRequest } from "@polygate/runtime";

/** Marks every response. The body streams through untouched. */
export default async function stamp(response: Response, request: PolygateRequest, context: PolygateContext) {
  const stamped = new Response(response.body, response);
  stamped.headers.set("x-handled-by", `polygate ${context.route.operationId ?? context.route.path}`);
  return stamped;
}
