// Takes away what would differ from one instance, host or moment to another, before the plugin's own code is loaded.
//
// Invariant: natively and in the sandbox the same, so that a unit test finds what the sandbox would.

const gone = (what, instead) => () => {
  throw new TypeError(`a plugin has no ${what}: ${instead}`);
};
const clock = gone('clock', 'use `call.received`');
const randomness = gone('randomness', 'use `call.seed`');

/** Takes it all away: `plugin` does so in the sandbox, `testing.sandboxed` in a test. Node itself needs its clock. */
export function purify(scope = globalThis) {
  scope.Math.random = randomness;
  const { Date: Native } = scope;
  const Pure = function Date(...parts) {
    if (new.target === undefined || parts.length === 0) clock();
    return Reflect.construct(Native, parts, new.target);
  };
  Object.defineProperties(Pure, {
    parse: { value: Native.parse },
    UTC: { value: Native.UTC },
    now: { value: clock },
    prototype: { value: Native.prototype },
  });
  Native.prototype.constructor = Pure;
  scope.Date = Pure;
  if (scope.performance !== undefined) scope.performance.now = clock;
  if (scope.crypto !== undefined) {
    for (const name of ['getRandomValues', 'randomUUID']) {
      Object.defineProperty(scope.crypto, name, { value: randomness, configurable: true });
    }
  }
}

// In the sandbox there is no `process`; a plugin's tests run in Node.
if (typeof process === 'undefined') purify();
