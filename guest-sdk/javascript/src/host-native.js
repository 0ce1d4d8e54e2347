// What a plugin may ask its host for, in a plugin's own tests: tables and memory that a test fills.
//
// Invariant: a plugin sees what the host would give it, apart from errors of counting: counts are
// exact here, and a host may count a little too long. Time and subject are the call's. Where the
// host would end a call, a function throws.

const world = { now: 0, subject: undefined, tables: new Map(), values: new Map(), counters: new Map() };

/** Takes away all tables and all memory. */
export function reset() {
  Object.assign(world, { now: 0, subject: undefined, tables: new Map(), values: new Map(), counters: new Map() });
}

/**
 * Gives the plugins of this test a table, in the place of an earlier one of that name: rows such as
 * `{ key: '4711', subject: 'u1', columns: { department: 'pharmacy' } }`. A key such as `10.0.0.0/8`
 * is a network.
 */
export function setTable(name, rows, { stale = false } = {}) {
  world.tables.set(name, { rows, stale });
}

/** Makes the following functions part of this call. */
export function enter(call) {
  world.now = Number(call.received);
  world.subject = call.subject?.id;
}

/** All rows of a key, in the order of the table. */
export function lookup(name, key) {
  const { rows, stale } = table(name);
  const fits = rows.map((row) => fit(row.key, key));
  const best = Math.max(...fits);
  return { rows: rows.filter((_, index) => fits[index] >= 0 && fits[index] === best).map(lowered), version: 'test', stale };
}

/** The rows of the call's subject. */
export function lookupSubject(name) {
  const { rows, stale } = table(name);
  const own = rows.filter((row) => row.subject !== undefined && row.subject === world.subject);
  return { matched: own.length > 0 ? 'one' : 'none', rows: own.map(lowered), version: 'test', stale };
}

/**
 * The value of a key, a `Uint8Array`; `undefined` where there is none, or where its time is over.
 */
export function recall(scope, key) {
  const kept = world.values.get(place(scope, key));
  return kept !== undefined && world.now < kept.until ? kept.value.slice() : undefined;
}

/** Sets the value of a key. */
export function remember(scope, key, value, ttlSeconds) {
  if (value.length > 4_096) throw new RangeError('a value has at most 4,096 bytes');
  world.values.set(place(scope, key), { until: world.now + ttlSeconds * 1_000, value: Uint8Array.from(value) });
}

/** Removes the value of a key. Its counters run out by themselves. */
export function forget(scope, key) {
  world.values.delete(place(scope, key));
}

/** How many were added within the last `windowSeconds`. */
export const count = (scope, key, windowSeconds) => counted(scope, key, windowSeconds, false);

/** Adds one, whatever comes of the call, and counts. */
export const tally = (scope, key, windowSeconds) => counted(scope, key, windowSeconds, false, '');

/** How many different members were added within the last `windowSeconds`. */
export const countDistinct = (scope, key, windowSeconds) => counted(scope, key, windowSeconds, true);

/** Adds a member, whatever comes of the call, and counts the different ones. */
export const tallyDistinct = (scope, key, member, windowSeconds) => counted(scope, key, windowSeconds, true, member);

function counted(scope, key, windowSeconds, distinct, member) {
  const at = `${distinct} ${place(scope, key)}`;
  if (!world.counters.has(at)) world.counters.set(at, []);
  const added = world.counters.get(at);
  if (member !== undefined) added.push([world.now, member]);
  const within = added.filter(([then]) => then <= world.now && world.now - then < windowSeconds * 1_000);
  return distinct ? new Set(within.map(([, one]) => one)).size : within.length;
}

function place(scope, key) {
  const length = new TextEncoder().encode(key).length;
  if (length < 1 || length > 256) throw new RangeError('a key has 1 to 256 bytes');
  if (scope === 'shared') return `shared ${key}`;
  if (scope !== 'subject') throw new TypeError('a scope is `subject` or `shared`');
  if (world.subject === undefined) throw new Error('the call has no subject to remember');
  return `subject ${JSON.stringify(world.subject)} ${key}`;
}

function table(name) {
  const found = world.tables.get(name);
  if (found === undefined) throw new Error(`there is no table \`${name}\` in this test`);
  return found;
}

function lowered({ columns }) {
  return { columns: Object.entries(columns).map(([name, value]) => ({ name, value: JSON.stringify(value) })) };
}

/** How well a row's key fits: below 0 where it does not, else the length of the prefix. */
function fit(known, key) {
  const [network, bits] = known.split('/');
  const prefix = bits === undefined ? undefined : number(network);
  if (prefix === undefined) return known === key ? 0 : -1;
  const address = number(key);
  if (address === undefined || address.width !== prefix.width) return -1;
  const shift = BigInt(prefix.width - Number(bits));
  return prefix.value >> shift === address.value >> shift ? Number(bits) : -1;
}

/** An IP address as a number, and how many bits it has. */
function number(text) {
  if (/^\d+(\.\d+){3}$/.test(text)) {
    return { width: 32, value: text.split('.').reduce((sum, part) => (sum << 8n) + BigInt(part), 0n) };
  }
  if (!/^[0-9a-f:]+$/i.test(text) || !text.includes(':')) return undefined;
  const [head, tail] = text.split('::').map((half) => (half === '' ? [] : half.split(':')));
  const groups = tail === undefined ? head : [...head, ...Array(8 - head.length - tail.length).fill('0'), ...tail];
  return { width: 128, value: groups.reduce((sum, group) => (sum << 16n) + BigInt(`0x${group}`), 0n) };
}
