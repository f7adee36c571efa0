import type { PolygateContext, PolygateRequest } from "@polygate/runtime";

export async function hello(request: PolygateRequest, context: PolygateContext) {
  context.log.info("greeting", request.params.name);
  return { hello: request.params.name, requestId: context.requestId };
}

export async function broken(): Promise<Response> {
  const order: { id: string } | undefined = undefined;
  return new Response(order!["id"]);
}

export async function loop(): Promise<Response> {
  for (;;) {
    // The gateway ends this after 50 ms of CPU time; the next request is served as if nothing had happened.
  }
}
