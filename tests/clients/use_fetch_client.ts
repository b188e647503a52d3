// Uses openapi-fetch with the types that openapi-typescript generated, and is type-checked first.
// Usage: node use_fetch_client.js URL KEY DOCKERFILE SLOW
import createClient from "openapi-fetch";
import type { paths } from "./schema";

declare const process: { argv: string[] };
const [baseUrl, key, dockerfile, slow] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });

function form(body: Record<string, unknown>): FormData {
  const found = new FormData();
  for (const [name, value] of Object.entries(body)) {
    found.append(name, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
  return found;
}

function ok<T>(answer: { data?: T; error?: unknown; response: Response }, status = 200): T {
  if (answer.response.status !== status) {
    throw new Error(`${answer.response.status} ${JSON.stringify(answer.error)}`);
  }
  return answer.data as T;
}

function expect(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

const me = ok(await client.GET("/users/me"));
const order = { name: "ts-app", tag: "1", dockerfile, build_args: { GREETING: "hello" } };
const made = ok(
  await client.POST("/images/", { body: order, bodySerializer: (body) => form(body) }),
  202,
);
// With `wait` the answer would be a stream of text.
if (typeof made === "string") throw new Error(made);
expect(made.user.username === me.username, "owner");

const at = { path: { ref: "ts-app:1" } };
const log = ok(
  await client.GET("/images/{ref}/logs/text", {
    params: { ...at, query: { follow: true } },
    parseAs: "text",
  }),
);
expect(log.includes("hello"), log);
const events = await client.GET("/images/{ref}/logs/events", { params: at, parseAs: "stream" });
let last = "";
for await (const piece of ok<unknown>(events) as AsyncIterable<Uint8Array>) {
  last = new TextDecoder().decode(piece);
}
expect(last.includes('data: "built and pushed"\nDONE'), last);

const listed = ok(await client.GET("/images/", { params: { query: { name: "ts-app" } } }));
expect(listed.items[0].image_id === made.image_id, "list");
const image = ok(await client.GET("/images/{ref}", { params: at }));
expect(image.status === "built and pushed" && !image.public, image.status);
const changed = ok(await client.PATCH("/images/{ref}", { params: at, body: { public: true } }));
expect(changed.public, "patch");
const again = ok(
  await client.POST("/images/{ref}/rebuild", { params: at, body: { no_cache: true } }),
  202,
);
expect(again.build.number === 2, "rebuild");
ok(
  await client.GET("/images/{ref}/logs/text", {
    params: { ...at, query: { follow: true } },
    parseAs: "text",
  }),
);

const slowly = { name: "slow-ts-app", tag: "1", dockerfile: slow };
ok(await client.POST("/images/", { body: slowly, bodySerializer: (body) => form(body) }), 202);
const slowAt = { path: { ref: "slow-ts-app:1" } };
ok(await client.POST("/images/{ref}/cancel", { params: slowAt }), 202);
for (;;) {
  const found = ok(await client.GET("/images/{ref}", { params: slowAt }));
  if (found.build.status === "cancelled") break;
  await new Promise((resume) => setTimeout(resume, 100));
}

const created = ok(await client.POST("/api_keys/", { body: { name: "ts", admin: true } }));
expect(created.secret_key.startsWith("cpk_"), "key");
const keyAt = { path: { ref: created.api_key_id } };
expect(ok(await client.DELETE("/api_keys/{ref}", { params: keyAt })).deleted, "key deleted");
expect(ok(await client.DELETE("/images/{ref}", { params: at })).deleted, "deleted");
const missing = await client.GET("/images/{ref}", { params: at });
expect(missing.error?.code === "image_not_found", "missing");
console.log("done");
