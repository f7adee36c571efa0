import type { PolygateContext, PolygateRequest } from "@polygate/runtime";

/** Answers GET /hello. What is no Response becomes one, as JSON. */
export default async function hello(request: PolygateRequest, context: PolygateContext) {
  const name = request.query.name ?? "world";
  context.log.info("greeting", name);
  return { message: `Hello, ${name}!`, requestId: context.requestId };
}
