// Calls and helpers for a plugin's own tests, natively, with no WebAssembly at all: `node --test`.

import { enter } from './host-native.js';
import { verdict } from './index.js';
import { purify } from './pure.js';

export { enter, reset, setTable } from './host-native.js';

/** A plugin configured with these settings (an object, or JSON text). Throws what is wrong with them. */
export function configured(exports, settings) {
  const complaints = refusal(exports, settings);
  if (complaints !== undefined) throw new Error(complaints.join('\n'));
  return exports;
}

/** What a plugin says is wrong with these settings; `undefined` where nothing is. A plugin can be configured once. */
export function refusal(exports, settings) {
  try {
    exports.configure(typeof settings === 'string' ? settings : JSON.stringify(settings));
    return undefined;
  } catch (complaints) {
    if (!Array.isArray(complaints)) throw complaints;
    return complaints;
  }
}

/** What a configured plugin decides, with its verdict and the codes of its findings beside it. Throws what it failed with. */
export function decide(exports, call) {
  let decided;
  enter(call);
  try {
    decided = exports.evaluate(call);
  } catch (error) {
    throw error instanceof Error ? error : new Error(error);
  }
  return { ...decided, verdict: verdict(decided), codes: decided.findings.map(({ code }) => code) };
}

/** Runs `ask` without clock and randomness, as the sandbox does, and gives them back afterwards. */
export function sandboxed(ask) {
  const { Date: date } = globalThis;
  const { constructor } = date.prototype;
  const [{ random }, { now }] = [Math, performance];
  purify();
  try {
    return ask();
  } finally {
    Object.assign(globalThis, { Date: date });
    date.prototype.constructor = constructor;
    Math.random = random;
    performance.now = now;
    for (const name of ['getRandomValues', 'randomUUID']) delete crypto[name];
  }
}

/** A call in the making, of this hook kind: `call('okta.token').subject('u1').attribute('department', 'pharmacy').build()`. */
export function call(hook) {
  return new CallBuilder(hook);
}

class CallBuilder {
  #call;

  constructor(hook) {
    this.#call = {
      id: 'event',
      correlation: undefined,
      tenant: 'default',
      hook,
      phase: undefined,
      received: 1_700_000_000_000n,
      seed: 1n,
      subject: undefined,
      actors: [],
      action: undefined,
      resource: undefined,
      requested: [],
      lifetimes: [],
      origin: undefined,
      purpose: undefined,
      proposed: [],
      payload: 'null',
    };
  }

  build() {
    return structuredClone(this.#call);
  }

  /** When the host received it: milliseconds since the Unix epoch, or text such as `2026-11-25T10:00:00Z`. */
  received(when) {
    return this.#with({ received: BigInt(typeof when === 'string' ? Date.parse(when) : when) });
  }

  /** Who: a person with this id. */
  subject(id) {
    this.#person().id = id;
    return this;
  }

  /** One attribute of the subject; anything that JSON can say. */
  attribute(name, value) {
    this.#person().attributes.push({ name, value: JSON.stringify(value) });
    return this;
  }

  /** One thing the subject holds already. */
  entitlement(entitlement) {
    this.#person().entitlements.push(entitlement);
    return this;
  }

  /** One thing that would be granted. */
  requested(kind, id) {
    this.#call.requested.push({ kind, id });
    return this;
  }

  /** What can be shortened, and within which bounds: those of an Okta token unless others are given. Seconds. */
  lifetime(target, seconds, least = 300, most = 86_400) {
    this.#call.lifetimes.push({ target, seconds, least, most });
    return this;
  }

  /** The hook's body, cut down to what the manifest reads. */
  payload(value) {
    return this.#with({ payload: JSON.stringify(value) });
  }

  /** Any other member of the contract's `call`. */
  with(members) {
    return this.#with(members);
  }

  #person() {
    this.#call.subject ??= { kind: 'person', typeName: 'user', id: undefined, attributes: [], entitlements: [] };
    return this.#call.subject;
  }

  #with(members) {
    Object.assign(this.#call, members);
    return this;
  }
}
