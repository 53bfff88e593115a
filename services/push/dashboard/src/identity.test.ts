import { expect, it, vi } from "vitest";

import { challengeOf, Identity, type Place } from "./identity";

const AT = { issuer: "http://issuer", client_id: "dashboard" };
const ENDPOINTS = {
  authorization_endpoint: "http://issuer/authorize",
  token_endpoint: "http://issuer/token",
  end_session_endpoint: "http://issuer/authorize/end",
  revocation_endpoint: "http://issuer/revoke",
};

class Memory {
  readonly kept = new Map<string, string>();
  getItem = (key: string): string | null => this.kept.get(key) ?? null;
  setItem = (key: string, value: string): void => void this.kept.set(key, value);
}

class Page implements Place {
  left = "";
  constructor(public href: string) {}
  go(url: string): void {
    this.left = url;
  }
  show(path: string): void {
    this.href = new URL(path, this.href).href;
  }
}

/** An issuer that knows one code and hands out numbered tokens; keeps what it was asked. */
class Issuer {
  readonly forms: Record<string, string>[] = [];
  status = 200;
  life = 600;
  ask = (url: string, init?: RequestInit): Promise<Response> => {
    if (url.endsWith("/openid-configuration")) return Promise.resolve(Response.json(ENDPOINTS));
    this.forms.push(Object.fromEntries(init?.body as URLSearchParams));
    const made = { access_token: `t${this.forms.length}`, refresh_token: `r${this.forms.length}`, expires_in: this.life };
    return Promise.resolve(this.status === 200 ? Response.json(made) : new Response("{}", { status: this.status }));
  };
}

function made(href = "http://screen/#symbol=AAPL", storage = new Memory(), issuer = new Issuer()) {
  const page = new Page(href);
  return { identity: new Identity(AT, storage, page, issuer.ask), page, storage, issuer };
}

it("without an issuer nobody is asked and there is no token", async () => {
  const identity = new Identity(undefined, new Memory(), new Page("http://screen/"));
  expect(await identity.begin()).toBe(true);
  expect([identity.token, identity.headers, identity.isAsked]).toEqual(["", {}, false]);
});

it("whoever is not signed in is sent to the issuer with the challenge of a verifier that stays here", async () => {
  const { identity, page, storage } = made();
  expect(await identity.begin()).toBe(false);
  const asked = new URL(page.left);
  const pending = JSON.parse(storage.getItem("tidemark.sign_in") ?? "") as Record<string, string>;
  expect(asked.origin + asked.pathname).toBe("http://issuer/authorize");
  expect(asked.searchParams.get("code_challenge")).toBe(await challengeOf(pending["verifier"] ?? ""));
  expect(asked.searchParams.get("redirect_uri")).toBe("http://screen/");
  expect(page.left).not.toContain(pending["verifier"]);
});

it("the challenge is the one of RFC 7636, appendix B", async () => {
  expect(await challengeOf("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")).toBe("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
});

it("back with the code it has a token, and shows what it showed", async () => {
  const first = made();
  await first.identity.begin();
  const state = new URL(first.page.left).searchParams.get("state") ?? "";
  const { identity, page, issuer } = made(`http://screen/?code=c&state=${state}`, first.storage);
  expect(await identity.begin()).toBe(true);
  expect(identity.headers).toEqual({ Authorization: "Bearer t1" });
  expect(page.href).toBe("http://screen/#symbol=AAPL");
  expect(issuer.forms[0]).toMatchObject({ grant_type: "authorization_code", code: "c", client_id: "dashboard" });
});

it("a code that another page asked for is not used", async () => {
  const first = made();
  await first.identity.begin();
  const { identity, page, issuer } = made("http://screen/?code=c&state=forged", first.storage);
  expect(await identity.begin()).toBe(false);
  expect(issuer.forms).toEqual([]);
  expect(page.left).toContain("/authorize");
});

it("a link signs in, once, and does not stay in the address", async () => {
  const { identity, page } = made("http://screen/#symbol=AAPL&link=once");
  await identity.begin();
  expect(page.href).toBe("http://screen/#symbol=AAPL");
  expect(new URL(page.left).searchParams.get("link")).toBe("once");
});

it("a reload goes on with the refresh token, and one that is not good leads to the issuer", async () => {
  const storage = new Memory();
  storage.setItem("tidemark.identity", JSON.stringify({ token: "old", refresh: "r0", renewMs: 0 }));
  const { identity, issuer } = made(undefined, storage);
  expect(await identity.begin()).toBe(true);
  expect([identity.token, issuer.forms[0]?.["refresh_token"]]).toEqual(["t1", "r0"]);
  issuer.status = 400;
  const next = made(undefined, storage, issuer);
  expect(await next.identity.begin()).toBe(false);
  expect(next.page.left).toContain("/authorize");
});

it("a token is renewed before it ends, once however many ask, and whoever follows is told", async () => {
  vi.useFakeTimers();
  const storage = new Memory();
  storage.setItem("tidemark.identity", JSON.stringify({ token: "old", refresh: "r0", renewMs: 0 }));
  const { identity, issuer } = made(undefined, storage);
  await identity.begin();
  const told: string[] = [];
  identity.follow(() => told.push(identity.token));
  await vi.advanceTimersByTimeAsync(0.6 * issuer.life * 1000 + 1);
  expect(told).toEqual(["t2"]);
  await Promise.all([identity.again(), identity.again()]);
  expect(issuer.forms.length).toBe(3);
  vi.useRealTimers();
});

it("where the issuer is away for a while the token stays, and is asked for again", async () => {
  vi.useFakeTimers();
  const storage = new Memory();
  storage.setItem("tidemark.identity", JSON.stringify({ token: "old", refresh: "r0", renewMs: 0 }));
  const { identity, issuer, page } = made(undefined, storage);
  await identity.begin();
  issuer.status = 503;
  await vi.advanceTimersByTimeAsync(0.6 * issuer.life * 1000 + 1);
  expect([identity.token, page.left]).toEqual(["t1", ""]);
  issuer.status = 200;
  await vi.advanceTimersByTimeAsync(5_001);
  expect(identity.token).toBe("t3");
  vi.useRealTimers();
});

it("whoever signs out has his tokens taken back, here and at the issuer", async () => {
  const storage = new Memory();
  storage.setItem("tidemark.identity", JSON.stringify({ token: "old", refresh: "r0", renewMs: 0 }));
  const { identity, issuer, page } = made(undefined, storage);
  await identity.begin();
  await identity.signOut();
  expect(issuer.forms.slice(1).map((form) => form["token"])).toEqual(["r1", "t1"]);
  expect([identity.token, storage.getItem("tidemark.identity")]).toEqual(["", ""]);
  expect(page.left).toContain("/authorize/end?post_logout_redirect_uri=http%3A%2F%2Fscreen%2F");
});
