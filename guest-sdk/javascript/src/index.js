// What a plugin author needs to write a Portcullis plugin in JavaScript.
//
// A plugin is an object with two functions, made into the component's exports by `plugin`:
//
//   import { Problems, finding, decision, plugin, text } from 'portcullis-guest';
//
//   export const { configure, evaluate } = plugin({
//     configure(settings, problems) { … return state; },     // once, when a release is activated
//     evaluate(state, call) { … return decision(…); },       // once a call, in an instance of its own
//   });
//
// Invariant: both must be pure. The same settings and the same call give the same decision: what has a clock or randomness of its own
// is taken away before the plugin's code can use it, so that a plugin that tries fails in its author's tests and not in a hospital.

import './pure.js';

// Tables and memory: for plugins whose manifest has the capability `reference` or `memory`. Scopes:
// `subject` and `shared`. Hosts refuse the capability `memory` for now.
export {
  count,
  countDistinct,
  forget,
  lookup,
  lookupSubject,
  recall,
  remember,
  tally,
  tallyDistinct,
} from '#host';

/** The effects, from the mildest to the strictest. The strictest of a call's findings is its verdict. */
export const EFFECTS = ['abstain', 'allow', 'step-up', 'review', 'deny'];

/** How many problems with settings are told one by one. */
const MOST_PROBLEMS = 50;

/** Collects what is wrong with settings, so that an operator sees everything at once. */
export class Problems {
  #sentences = [];
  #further = 0;

  /** Adds one: where it is and what is wrong there, such as `at('rules[3].b', 'names no function')`. */
  at(path, what) {
    if (this.#sentences.length < MOST_PROBLEMS) this.#sentences.push(`settings: \`${path}\` ${what}`);
    else this.#further += 1;
  }

  /** Whether there is none. */
  get none() {
    return this.#sentences.length === 0;
  }

  /** One sentence for each; a last one counts what is not told. */
  get sentences() {
    return this.#further > 0
      ? [...this.#sentences, `settings: and ${this.#further} more problems`]
      : [...this.#sentences];
  }

  /**
   * Holds a value against what it must be and adds what is wrong. `shape` is one of
   * `'string'`, `'boolean'`, `'number'`, `'integer'`, `[shape]` for an array, `{ member: shape }` for an object with these members and no
   * others (`'member?'` for one that may be absent), a `Set` of strings for one of them, or a function of value, path and problems.
   * True where nothing was wrong.
   */
  check(value, shape, path = '') {
    const wrong = (what) => {
      if (path === '') this.at('.', what);
      else this.at(path, what);
      return false;
    };
    if (typeof shape === 'function') return shape(value, path, this);
    if (shape instanceof Set) return shape.has(value) || wrong(`is none of ${[...shape].join(', ')}`);
    if (shape === 'integer') return Number.isSafeInteger(value) || wrong('is no whole number');
    if (typeof shape === 'string') return typeof value === shape || wrong(`is no ${shape}`);
    if (Array.isArray(shape)) {
      if (!Array.isArray(value)) return wrong('is no array');
      return value.map((one, index) => this.check(one, shape[0], `${path}[${index}]`)).every(Boolean);
    }
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return wrong('is no object');
    const inside = (name) => (path === '' ? name : `${path}.${name}`);
    let right = true;
    const members = new Map(Object.keys(shape).map((name) => [name.replace(/\?$/, ''), name]));
    for (const name of Object.keys(value)) {
      if (!members.has(name)) {
        this.at(inside(name), 'is no setting');
        right = false;
      }
    }
    for (const [name, spelled] of members) {
      if (Object.hasOwn(value, name)) right = this.check(value[name], shape[spelled], inside(name)) && right;
      else if (spelled === name) {
        this.at(inside(name), 'is missing');
        right = false;
      }
    }
    return right;
  }
}

/** Makes a plugin the component's exports. */
export function plugin({ configure, evaluate, find }) {
  // Arrays hold the state, so that a plugin configured with `undefined` is configured.
  let configured;
  // A thrown value that is no `Error` is what the contract's `error` case carries; an `Error` would trap without a word.
  const spoken = (ask) => {
    try {
      return ask();
    } catch (error) {
      throw describe(error);
    }
  };
  const ready = () => {
    if (configured === undefined) throw new Error('the plugin was not configured');
    return configured[0];
  };
  const exports = {
    configure(settings) {
      if (configured !== undefined) throw ['settings: the plugin is configured already'];
      const problems = new Problems();
      let state;
      try {
        state = configure(JSON.parse(settings), problems);
      } catch (error) {
        throw [`settings: ${describe(error)}`];
      }
      if (!problems.none) throw problems.sentences;
      configured = [state];
    },
    evaluate(call) {
      return spoken(() => evaluate(ready(), seen(call)));
    },
  };
  if (find !== undefined) {
    exports.search = { find: (call, page) => spoken(() => find(ready(), seen(call), page)) };
  }
  return exports;
}

/** The string that JSON text holds; `undefined` when it is anything else, or absent. */
export function text(json) {
  if (json === undefined) return undefined;
  try {
    const value = JSON.parse(json);
    return typeof value === 'string' && value.isWellFormed() ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The value of an attribute of a principal or an entity; `undefined` when it is absent, `null`, or there is nobody. */
export function attribute(who, name) {
  const json = who?.attributes.find((attribute) => attribute.name === name)?.value;
  if (json === undefined) return undefined;
  return JSON.parse(json) ?? undefined;
}

/**
 * The value of a column of a row; `undefined` where the cell is empty, or the manifest does not read
 * the column.
 */
export function column(row, name) {
  const json = row.columns.find((column) => column.name === name)?.value;
  return json === undefined ? undefined : (JSON.parse(json) ?? undefined);
}

/** The attribute if it is a string. */
export function attributeText(who, name) {
  return text(who?.attributes.find((attribute) => attribute.name === name)?.value);
}

/** A finding. `arguments` fill its message in the manifest's catalogue: strings, numbers, or anything that JSON can say. */
export function finding(code, effect, { severity = 'info', field, arguments: filled = {} } = {}) {
  const list = Object.entries(filled).map(([name, value]) => ({ name, value: JSON.stringify(value) }));
  return { code, effect, severity, arguments: list, field };
}

/** A decision: findings, changes, and a risk of 0 to 255 where the plugin weighs one. Nothing of all that: it abstains. */
export function decision({ findings = [], changes = [], risk } = {}) {
  return { findings, changes, risk };
}

/** The strictest effect among the findings: the verdict that the host derives. */
export function verdict({ findings }) {
  return findings.reduce(
    (strictest, { effect }) => (EFFECTS.indexOf(effect) > EFFECTS.indexOf(strictest) ? effect : strictest),
    'abstain',
  );
}

/** The changes a plugin can want. Targets: `id-token`, `access-token`, `assertion`, `user`, `app-user`, `request`, `response`. */
export const change = {
  set: (target, path, value) => ({ tag: 'set', val: { target, path, value: JSON.stringify(value) } }),
  remove: (target, path) => ({ tag: 'remove', val: { target, path } }),
  /** Seconds. */
  capLifetime: (target, seconds) => ({ tag: 'cap-lifetime', val: { target, seconds } }),
  /** Kinds: `entitlement`, `group`, `role`, `scope`, `app`, `claim`. */
  addGrant: (kind, id) => ({ tag: 'add-grant', val: { kind, id } }),
  dropGrant: (kind, id) => ({ tag: 'drop-grant', val: { kind, id } }),
  linkUser: (id) => ({ tag: 'link-user', val: id }),
  createUser: () => ({ tag: 'create-user' }),
  /** `verified`, `unverified`, `migrate`, `update`, `retry` or `block`. */
  credential: (found) => ({ tag: 'credential', val: found }),
  autoApprove: () => ({ tag: 'auto-approve' }),
  requireApprovers: (people) => ({ tag: 'require-approvers', val: people }),
  statement: ({ name, code, payload, obligatory }) => ({
    tag: 'statement',
    val: { name, code, payload: JSON.stringify(payload), obligatory },
  }),
  waive: (codes) => ({ tag: 'waive', val: codes }),
};

/** The call with its clock as a number: milliseconds since the Unix epoch, which a number holds for 280,000 years. */
function seen(call) {
  return { ...call, received: Number(call.received) };
}

function describe(error) {
  if (error instanceof Error) return `${error.name}: ${error.message}`;
  return typeof error === 'string' ? error : JSON.stringify(error) ?? String(error);
}
