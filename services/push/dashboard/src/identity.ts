// Who looks at the screen: signs in at the issuer with an authorization code and PKCE (RFC 7636), and has another token
// before one ends. Without an issuer nobody is asked, and there is no token.

export interface SignIn {
  issuer: string;
  client_id: string;
}

/** The page's address, and the way to others. */
export interface Place {
  readonly href: string;
  /** Leaves the page. */
  go(url: string): void;
  /** Replaces the address and stays. */
  show(path: string): void;
}

interface Endpoints {
  authorization_endpoint: string;
  token_endpoint: string;
  end_session_endpoint?: string;
  revocation_endpoint?: string;
}

interface Tokens {
  token: string;
  refresh: string;
  renewMs: number; // when the next one is asked for, by the browser's clock
}

interface Pending {
  state: string;
  verifier: string;
  hash: string; // what the page showed
}

const TOKENS_KEY = "tidemark.identity";
const PENDING_KEY = "tidemark.sign_in";
const RENEW_AFTER = 0.6; // of a token's life
const RETRY_MS = 5_000;
const SECRET_BYTES = 32;

type Kept = Pick<Storage, "getItem" | "setItem">;
type Ask = (url: string, init?: RequestInit) => Promise<Response>;

export class Identity {
  private tokens: Tokens | undefined;
  private endpoints: Endpoints | undefined;
  private renewing: Promise<boolean> | undefined;
  private readonly listeners: (() => void)[] = [];

  constructor(
    private readonly at: SignIn | undefined,
    private readonly storage: Kept,
    private readonly place: Place,
    private readonly ask: Ask = (url, init) => fetch(url, init),
  ) {
    this.tokens = read<Tokens>(storage, TOKENS_KEY);
  }

  /** Whether anybody is asked who he is. */
  get isAsked(): boolean {
    return this.at !== undefined;
  }

  /** The token to say who it is with; empty without an issuer. */
  get token(): string {
    return this.at ? (this.tokens?.token ?? "") : "";
  }

  /** The header of a request; none without an issuer. */
  get headers(): Record<string, string> {
    return this.token ? { Authorization: `Bearer ${this.token}` } : {};
  }

  /** Calls the listener whenever there is another token. */
  follow(listener: () => void): void {
    this.listeners.push(listener);
  }

  /** Whether the page may begin; false where it is being left, to sign in. Throws where the issuer does not answer. */
  async begin(): Promise<boolean> {
    if (!this.at) return true;
    const url = new URL(this.place.href);
    const link = takeLink(url);
    if (link) this.place.show(url.pathname + url.search + url.hash);
    if (url.searchParams.has("code") && (await this.comeBack(url))) return true;
    if (this.tokens?.refresh && (await this.renew())) return true;
    await this.leave(url.hash, link);
    return false;
  }

  /** Another token for the refresh token. Where the issuer says no, the page is left to sign in. */
  async again(): Promise<void> {
    if (this.at && !(await this.renew())) await this.leave(new URL(this.place.href).hash, "");
  }

  /** Forgets the tokens, has the issuer forget them, and leaves to it. */
  async signOut(): Promise<void> {
    if (!this.at) return;
    const { revocation_endpoint: revokes, end_session_endpoint: ends } = await this.discovered();
    for (const token of [this.tokens?.refresh, this.tokens?.token]) {
      if (revokes && token) await this.post(revokes, { token, client_id: this.at.client_id }).catch(() => undefined);
    }
    this.keep(undefined);
    const home = this.home();
    this.place.go(ends ? `${ends}?${new URLSearchParams({ post_logout_redirect_uri: home, client_id: this.at.client_id })}` : home);
  }

  private async comeBack(url: URL): Promise<boolean> {
    const pending = read<Pending>(this.storage, PENDING_KEY);
    this.storage.setItem(PENDING_KEY, "");
    const { code, state } = Object.fromEntries(url.searchParams);
    this.place.show(url.pathname + (pending?.hash ?? ""));
    if (!this.at || !pending || !code || state !== pending.state) return false;
    const form = { grant_type: "authorization_code", code, redirect_uri: this.home(), code_verifier: pending.verifier };
    return this.obtain({ ...form, client_id: this.at.client_id });
  }

  private renew(): Promise<boolean> {
    const refresh = this.tokens?.refresh;
    if (!this.at || !refresh) return Promise.resolve(false);
    const form = { grant_type: "refresh_token", refresh_token: refresh, client_id: this.at.client_id };
    this.renewing ??= this.obtain(form).finally(() => (this.renewing = undefined)); // a refresh token works once
    return this.renewing;
  }

  private async obtain(form: Record<string, string>): Promise<boolean> {
    const response = await this.post((await this.discovered()).token_endpoint, form);
    if (response.status >= 500) throw new Error("The issuer does not answer");
    if (!response.ok) {
      this.keep(undefined);
      return false;
    }
    const found = (await response.json()) as { access_token: string; refresh_token?: string; expires_in: number };
    const lifeMs = found.expires_in * 1000;
    this.keep({ token: found.access_token, refresh: found.refresh_token ?? "", renewMs: Date.now() + lifeMs * RENEW_AFTER });
    for (const listener of this.listeners) listener();
    return true;
  }

  private async leave(hash: string, link: string): Promise<void> {
    if (!this.at) return;
    const endpoints = await this.discovered();
    const [state, verifier] = [secret(), secret()];
    this.storage.setItem(PENDING_KEY, JSON.stringify({ state, verifier, hash } satisfies Pending));
    const asked = new URLSearchParams({
      response_type: "code",
      client_id: this.at.client_id,
      redirect_uri: this.home(),
      scope: "openid",
      state,
      code_challenge: await challengeOf(verifier),
      code_challenge_method: "S256",
      ...(link ? { link } : {}),
    });
    this.place.go(`${endpoints.authorization_endpoint}?${asked}`);
  }

  private keep(tokens: Tokens | undefined): void {
    this.tokens = tokens;
    this.storage.setItem(TOKENS_KEY, tokens ? JSON.stringify(tokens) : "");
    if (tokens?.refresh) this.renewLater(tokens, tokens.renewMs - Date.now());
  }

  private renewLater(tokens: Tokens, inMs: number): void {
    setTimeout(() => {
      if (this.tokens !== tokens) return;
      this.again().catch(() => this.renewLater(tokens, RETRY_MS)); // nobody answers: the token may be good for a while yet
    }, Math.max(0, inMs));
  }

  private async discovered(): Promise<Endpoints> {
    if (!this.endpoints) {
      const response = await this.ask(`${this.at?.issuer.replace(/\/$/, "")}/.well-known/openid-configuration`);
      if (!response.ok) throw new Error("The issuer does not answer");
      this.endpoints = (await response.json()) as Endpoints;
    }
    return this.endpoints;
  }

  private post(url: string, form: Record<string, string>): Promise<Response> {
    return this.ask(url, { method: "POST", body: new URLSearchParams(form) });
  }

  /** Where the issuer sends the browser back to. */
  private home(): string {
    return `${new URL(this.place.href).origin}/`;
  }
}

/** The challenge of a verifier: BASE64URL(SHA256(verifier)). */
export async function challengeOf(verifier: string): Promise<string> {
  return base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))));
}

/** What signs in whoever was given the address; taken out of it, so that it is not passed on with it. */
function takeLink(url: URL): string {
  const shown = new URLSearchParams(url.hash.slice(1));
  const link = shown.get("link") ?? "";
  shown.delete("link");
  if (link) url.hash = shown.toString();
  return link;
}

function secret(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)));
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function read<T>(storage: Kept, key: string): T | undefined {
  try {
    const text = storage.getItem(key);
    return text ? (JSON.parse(text) as T) : undefined;
  } catch {
    return undefined;
  }
}
