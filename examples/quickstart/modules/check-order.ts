import { HttpProblems, PolygateRequest, type PolygateContext } from "@polygate/runtime";
import { z } from "zod";

const Order = z.object({
  item: z.string().min(1),
  quantity: z.number().int().positive().max(100),
});

/** Answers 400 with all that is wrong with the order, or passes it on as JSON with its defaults filled in. */
export default async function checkOrder(request: PolygateRequest, context: PolygateContext) {
  const body = await request.json().catch(() => undefined);
  const order = Order.safeParse(body);
  if (!order.success) {
    return HttpProblems.badRequest(request, context, {
      detail: "The order is not valid",
      errors: order.error.issues.map((issue) => ({ at: issue.path.join("."), message: issue.message })),
    });
  }
  context.log.info("order for", order.data.quantity, order.data.item, "by", request.user?.sub);
  return new PolygateRequest(request, { body: JSON.stringify(order.data) });
}
