//! Real npm packages, unchanged, inside of policies.

use serde_json::json;

use crate::harness::Project;

const MODULE: &str = r#"
import { z } from "zod";
import * as jose from "jose";
import { nanoid, customAlphabet } from "nanoid";
import { v4, v5, validate } from "uuid";
import * as v from "valibot";
import { Hono } from "hono";
import { getSignedCookie, setSignedCookie } from "hono/cookie";
import { sha256 } from "hono/utils/crypto";
import { parseBody } from "hono/utils/body";
import jsonata from "jsonata";
import { groupBy, camelCase } from "lodash-es";
import { addDays, formatISO, parseISO } from "date-fns";
import { Validator } from "@cfworker/json-schema";
import ms from "ms";

export async function validation() {
  const User = z.object({ name: z.string().min(2), age: z.coerce.number().int(), mail: z.email().optional() });
  const Valibot = v.object({ tags: v.array(v.pipe(v.string(), v.maxLength(3))) });
  const schema = new Validator({ type: "object", required: ["a"], properties: { a: { type: "integer" } } });
  return {
    zod: User.parse({ name: "Ada", age: "36" }),
    zodError: User.safeParse({ name: "A", age: 1, mail: "x" }).error?.issues.map((issue) => issue.path.join(".")),
    valibot: v.safeParse(Valibot, { tags: ["abc", "abcd"] }).issues?.length,
    schema: [schema.validate({ a: 1 }).valid, schema.validate({ a: "x" }).valid],
  };
}

export async function jwt() {
  const results: Record<string, unknown> = {};
  const secret = new TextEncoder().encode("a secret of at least 32 bytes, really!");
  const keys: Record<string, any> = { HS256: { publicKey: secret, privateKey: secret } };
  for (const alg of ["ES256", "EdDSA", "RS256", "PS256"]) {
    keys[alg] = await jose.generateKeyPair(alg, { extractable: true, modulusLength: 2048 });
  }
  for (const [alg, { publicKey, privateKey }] of Object.entries(keys)) {
    const token = await new jose.SignJWT({ scope: "read" })
      .setProtectedHeader({ alg }).setIssuedAt().setSubject("ada").setAudience("shop").setExpirationTime("1h").sign(privateKey);
    const { payload } = await jose.jwtVerify(token, publicKey, { audience: "shop" });
    const forged = token.slice(0, -6) + "AAAAAA";
    const refused = await jose.jwtVerify(forged, publicKey).then(() => "accepted", (error) => error.code);
    results[alg] = [payload.sub, refused];
  }
  const jwk = await jose.exportJWK(keys.ES256.publicKey);
  results.thumbprint = (await jose.calculateJwkThumbprint(jwk)).length;
  const sealed = await new jose.EncryptJWT({ a: 1 }).setProtectedHeader({ alg: "dir", enc: "A256GCM" })
    .encrypt(new Uint8Array(32).fill(7));
  results.jwe = (await jose.jwtDecrypt(sealed, new Uint8Array(32).fill(7))).payload.a;
  return results;
}

export async function ids() {
  const name = v5("polygate", "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
  return { nanoid: nanoid().length, alphabet: /^[ab]{5}$/.test(customAlphabet("ab", 5)()), v4: validate(v4()), v5: name };
}

export async function hono(request: Request) {
  const app = new Hono();
  app.get("/hono/cookie", async (c) => {
    await setSignedCookie(c, "s", "value", "key");
    return c.json({ path: c.req.path, query: c.req.query("q") });
  });
  app.post("/hono/form", async (c) => c.json(await parseBody(c.req)));
  app.get("/hono/signed", async (c) => c.text(String(await getSignedCookie(c, "key", "s"))));
  app.get("/hono/hash", async (c) => c.text(String(await sha256("polygate"))));
  app.notFound((c) => c.text("hono does not know " + c.req.path, 404));
  return app.fetch(request);
}

export async function data() {
  const expression = jsonata("$sum(items.(price * count))");
  return {
    jsonata: await expression.evaluate({ items: [{ price: 2, count: 3 }, { price: 5, count: 1 }] }),
    lodash: [groupBy([1, 2, 3], (n) => (n % 2 ? "odd" : "even")), camelCase("a header-name")],
    dates: formatISO(addDays(parseISO("2026-01-30"), 3), { representation: "date" }),
    ms: [ms("2 days"), ms(60000)],
  };
}
"#;

#[test]
fn packages_work_unchanged() {
    let mut project = Project::new().file("modules/main.ts", MODULE);
    if !project.packages("packages::packages_work_unchanged") {
        return;
    }
    for export in ["validation", "jwt", "ids", "data"] {
        project = project.function("get", &format!("/{export}"), export);
    }
    project = project.function("get,post", "/hono/{rest}", "hono");
    // Generating RSA keys and loading ten packages takes CPU time.
    project = project.file("polygate.toml", "[budget]\ncpu = \"5s\"\nwall = \"10s\"\n");
    let gateway = project.run();

    let validation = gateway.get("/validation").json();
    assert_eq!(validation["zod"], json!({ "name": "Ada", "age": 36 }));
    assert_eq!(validation["zodError"], json!(["name", "mail"]));
    assert_eq!((&validation["valibot"], &validation["schema"]), (&json!(1), &json!([true, false])));

    let jwt = gateway.get("/jwt").json();
    for alg in ["HS256", "ES256", "EdDSA", "RS256", "PS256"] {
        assert_eq!(jwt[alg], json!(["ada", "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"]), "{alg}: {jwt}");
    }
    assert_eq!((&jwt["thumbprint"], &jwt["jwe"]), (&json!(43), &json!(1)));

    // The version 5 UUID of "polygate" in the DNS namespace, computed with another implementation.
    let ids = gateway.get("/ids").json();
    assert_eq!((&ids["nanoid"], &ids["alphabet"], &ids["v4"]), (&json!(21), &json!(true), &json!(true)));
    assert_eq!(ids["v5"].as_str().map(str::len), Some(36));

    let cookie = gateway.get("/hono/cookie?q=a%20b");
    assert_eq!(cookie.json(), json!({ "path": "/hono/cookie", "query": "a b" }));
    let set = cookie.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(gateway.send("GET", "/hono/signed", &[("cookie", &set)], "").body, "value");
    let forged = set.replace("value", "other");
    assert_eq!(gateway.send("GET", "/hono/signed", &[("cookie", &forged)], "").body, "false");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(
        gateway.send("POST", "/hono/form", &form, "a=1&b=x+y").json(),
        json!({ "a": "1", "b": "x y" })
    );
    let sum = gateway.get("/hono/hash").body;
    assert_eq!(sum.len(), 64, "{sum}");
    assert_eq!(gateway.get("/hono/other").status, 404);

    let data = gateway.get("/data").json();
    assert_eq!(data["jsonata"], json!(11));
    assert_eq!(data["lodash"], json!([{ "odd": [1, 3], "even": [2] }, "aHeaderName"]));
    assert_eq!((&data["dates"], &data["ms"]), (&json!("2026-02-02"), &json!([172_800_000, "1m"])));
}
