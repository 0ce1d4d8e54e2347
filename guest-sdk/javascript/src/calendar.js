// Dates, time zones, shifts and holidays. `Intl` is missing in the sandbox, and is not used in
// tests either.
//
// A day is text such as `2026-11-30`: days compare with `<` and `===`, and are keys of tables. An
// instant is a whole number of milliseconds since the Unix epoch, as `call.received` is.
//
// Time zones are those of the IANA database in `zones.js`. They are right for local times from
// 1970-01-01 to 9999-12-31, as far as the laws of today are those of then. Outside of that, and for
// text that is not what it must be, functions return `undefined`.
//
// A local time that occurs twice (clocks set back) is the earlier of the two; one that does not
// occur (clocks set forward) is moved on by the length of the gap. `Temporal` and RFC 5545 do the
// same.
//
// Invariant: nothing here depends on a clock, a locale or the machine.

import { lookup } from '#host';
import { TZDB, ZONES } from './zones.js';

export { TZDB };

const DAY = 86_400;
const LAST_DAY = 2_932_896;
const BEGINNING = -DAY;
const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_';
const INSTANT =
  /^([0-9-]{10})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))$/;

/** The day that text such as `2026-11-30` names: the text itself. */
export function parseDate(text) {
  if (typeof text !== 'string' || !/^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(text)) return undefined;
  const { year, month, day } = parts(text);
  return year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= monthLength(year, month) ? text : undefined;
}

/**
 * The instant of a time with an offset, such as `2026-11-30T17:00:00+01:00` (RFC 3339). Parts of
 * milliseconds are cut off, and a leap second counts as the second before it.
 */
export function parseInstant(text) {
  const match = typeof text === 'string' ? INSTANT.exec(text) : null;
  if (match === null || parseDate(match[1]) === undefined) return undefined;
  const [hour, minute, second, offsetHours, offsetMinutes] = [2, 3, 4, 7, 8].map((part) => Number(match[part] ?? 0));
  if (hour > 23 || minute > 59 || second > 60 || offsetHours > 23 || offsetMinutes > 59) return undefined;
  const offset = (offsetHours * 60 + offsetMinutes) * (match[6] === '-' ? -1 : 1);
  const minutes = (numberOf(match[1]) * 24 + hour) * 60 + minute - offset;
  return (minutes * 60 + Math.min(second, 59)) * 1_000 + Number(`${match[5] ?? ''}000`.slice(0, 3));
}

/** The weekday of a day: 1 is Monday, 7 is Sunday. */
export function weekday(date) {
  return modulo(numberOf(date) + 3, 7) + 1;
}

/** The day some days later; earlier, where `days` is negative. */
export function addDays(date, days) {
  return dateOf(numberOf(date) + days);
}

/**
 * The day some months later. Where that month has no such day, it is its last: one month after 31
 * January is 28 or 29 February.
 */
export function addMonths(date, months) {
  const { year, month, day } = parts(date);
  const count = year * 12 + month - 1 + months;
  const [later, index] = [Math.floor(count / 12), modulo(count, 12) + 1];
  if (!(later >= 1 && later <= 9_999)) return undefined;
  return spelled(later, index, Math.min(day, monthLength(later, index)));
}

/**
 * Hours of a day, by the clock on the wall, such as `22:00` to `06:00`: from the first on and before
 * the second. Where the second is not later, they go over midnight. They can end at `24:00`, and the
 * same time twice means all 24 hours. `begin` and `end` are minutes since midnight.
 */
export function shift(begin, end) {
  const [first, last] = [minutesOf(begin), end === '24:00' ? 1_440 : minutesOf(end)];
  return first === undefined || last === undefined ? undefined : { begin: first, end: last };
}

/**
 * A time zone by its name in the IANA database, such as `Europe/Berlin`. It takes time: ask for it in
 * `configure`.
 */
export function zone(name) {
  if (typeof name !== 'string') return undefined;
  for (const line of ZONES) {
    const [names, ...rules] = line.split('|');
    if (names.split(' ').includes(name)) return new Zone(name, ...rules);
  }
  return undefined;
}

/** A time zone; `zone` makes it. */
class Zone {
  #moments = [];
  #offsets;
  #rule;

  constructor(name, offsets, changes, rule) {
    this.name = name;
    const known = offsets.split(',').map(Number);
    this.#rule = rule.split(',').map(Number);
    // The offset before each change, and the last one's after it.
    this.#offsets = [known[0]];
    let moment = BEGINNING;
    for (const [, quarters, seconds, index] of changes.matchAll(/(?:([^~]{3})|~(.{6}))(.)/g)) {
      moment += quarters === undefined ? base64(seconds) : base64(quarters) * 900;
      this.#moments.push(moment);
      this.#offsets.push(known[DIGITS.indexOf(index)]);
    }
  }

  /** The local date and time of an instant: `{ date, hour, minute, second, millisecond }`. */
  local(instant) {
    const second = Math.floor(instant / 1_000);
    const shown = second + this.#offset(second);
    const [day, rest] = [Math.floor(shown / DAY), modulo(shown, DAY)];
    if (!(day >= 0 && day <= LAST_DAY)) return undefined;
    const [hour, minute] = [Math.floor(rest / 3_600), Math.floor(rest / 60) % 60];
    return { date: dateOf(day), hour, minute, second: rest % 60, millisecond: modulo(instant, 1_000) };
  }

  /** The instant at which calendars and clocks show this. Parts of the time that are absent are zero. */
  instant({ date, hour = 0, minute = 0, second = 0, millisecond = 0 }) {
    const day = numberOf(date);
    if (day < 0) return undefined;
    return this.#find(day * DAY + hour * 3_600 + minute * 60 + second) * 1_000 + millisecond;
  }

  /**
   * The first instant of a day: midnight, or the end of the gap where there is no midnight. A day that
   * does not occur starts when the next one does.
   */
  startOfDay(date) {
    const day = numberOf(date);
    return day < 0 ? undefined : this.#start(day) * 1_000;
  }

  /** The first instant after a day, which is the start of the next. */
  endOfDay(date) {
    const day = numberOf(date);
    return day < 0 ? undefined : this.#start(day + 1) * 1_000;
  }

  /**
   * The day on which the shift began that this instant is within; `undefined` where it is within none.
   * The clock on the wall decides: the night in which clocks change has an hour more or less.
   */
  shiftDay(instant, { begin, end }) {
    const local = this.local(instant);
    if (local === undefined) return undefined;
    const minute = local.hour * 60 + local.minute;
    if (begin < end) return minute >= begin && minute < end ? local.date : undefined;
    if (minute >= begin) return local.date;
    return minute < end ? addDays(local.date, -1) : undefined;
  }

  /** Seconds east of UTC at a second since the epoch. */
  #offset(second) {
    const moments = this.#moments;
    if (moments.length > 0 && second < moments[moments.length - 1]) {
      let [low, high] = [0, moments.length - 1];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (moments[middle] <= second) low = middle + 1;
        else high = middle;
      }
      return this.#offsets[low];
    }
    const [standard, summer, ...rules] = this.#rule;
    if (summer === undefined) return standard;
    const { year } = civil(Math.floor((second + standard) / DAY));
    const begin = changesAt(year, rules.slice(0, 4)) - standard;
    const end = changesAt(year, rules.slice(4)) - summer;
    const isSummer = begin < end ? begin <= second && second < end : !(end <= second && second < begin);
    return isSummer ? summer : standard;
  }

  /** The instant of a local time, both in seconds. */
  #find(local) {
    const [before, after] = [this.#offset(local - DAY), this.#offset(local + DAY)];
    const isAfter = this.#offset(local - before) !== before && this.#offset(local - after) === after;
    return local - (isAfter ? after : before);
  }

  /** The first instant of a day since the epoch, in seconds. */
  #start(day) {
    const local = day * DAY;
    const [before, after] = [this.#offset(local - DAY), this.#offset(local + DAY)];
    if (this.#offset(local - before) === before || this.#offset(local - after) === after) return this.#find(local);
    // No midnight: the day begins when the clocks change.
    let [early, late] = [local - after, local - before];
    while (late - early > 1) {
      const middle = Math.floor((early + late) / 2);
      if (this.#offset(middle) === before) early = middle;
      else late = middle;
    }
    return late;
  }
}

/** Days in settings: `2026-12-25`, or `12-25` for every year. `has(date)` asks. */
export class Holidays {
  #days = new Set();

  /** Tells what is no such day as a problem below `path`, and leaves it out. */
  constructor(entries, problems, path = 'holidays') {
    if (!Array.isArray(entries)) problems?.at(path, 'is no array');
    for (const [index, entry] of Array.isArray(entries) ? entries.entries() : []) {
      // A leap year, which has every day.
      const day = parseDate(typeof entry === 'string' && entry.length === 5 ? `2000-${entry}` : entry);
      if (day !== undefined) this.#days.add(entry);
      else problems?.at(`${path}[${index}]`, 'is no day, such as `2026-12-25`, or `12-25` for every year');
    }
  }

  has(date) {
    return this.#days.has(date) || this.#days.has(date.slice(5));
  }
}

/**
 * Whether a reference table has a row with this day as its key. Needs the capability `reference`;
 * `lookup` also tells whether the table is stale, and what the row says.
 */
export function holidayInTable(table, date) {
  return lookup(table, date).rows.length > 0;
}

/**
 * When clocks change in a year, in local seconds since the epoch: in week 1 to 5 of a month, where 5 is
 * the last, on a weekday, where 0 is Sunday.
 */
function changesAt(year, [month, week, onWeekday, seconds]) {
  const first = dayNumber(year, month, 1);
  const day = modulo(onWeekday - first - 4, 7) + 7 * (week - 1);
  return (first + (day < monthLength(year, month) ? day : day - 7)) * DAY + seconds;
}

/** Days since the epoch in the proleptic Gregorian calendar; years begin in March. */
function dayNumber(year, month, day) {
  const [from, index] = month > 2 ? [year, month - 3] : [year - 1, month + 9];
  const leaps = Math.floor(from / 4) - Math.floor(from / 100) + Math.floor(from / 400);
  return from * 365 + leaps + Math.floor((153 * index + 2) / 5) + day - 719_469;
}

/** The reverse. */
function civil(number) {
  const since = number + 719_468;
  const era = Math.floor(since / 146_097);
  const ofEra = since - era * 146_097;
  const yearOfEra = Math.floor(
    (ofEra - Math.floor(ofEra / 1_460) + Math.floor(ofEra / 36_524) - Math.floor(ofEra / 146_096)) / 365,
  );
  const ofYear = ofEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const index = Math.floor((5 * ofYear + 2) / 153);
  const month = index < 10 ? index + 3 : index - 9;
  const day = ofYear - Math.floor((153 * index + 2) / 5) + 1;
  return { year: era * 400 + yearOfEra + (month <= 2 ? 1 : 0), month, day };
}

function monthLength(year, month) {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return [4, 6, 9, 11].includes(month) ? 30 : 31;
}

function parts(date) {
  return { year: Number(date.slice(0, 4)), month: Number(date.slice(5, 7)), day: Number(date.slice(8)) };
}

function spelled(year, month, day) {
  const padded = (number, width) => String(number).padStart(width, '0');
  return `${padded(year, 4)}-${padded(month, 2)}-${padded(day, 2)}`;
}

function numberOf(date) {
  const { year, month, day } = parts(date);
  return dayNumber(year, month, day);
}

/** `undefined` outside the years 1 to 9999. */
function dateOf(number) {
  if (!(number >= -719_162 && number <= LAST_DAY)) return undefined;
  const { year, month, day } = civil(number);
  return spelled(year, month, day);
}

/** Minutes since midnight, of text such as `07:30`. */
function minutesOf(text) {
  if (typeof text !== 'string' || !/^[0-9]{2}:[0-9]{2}$/.test(text)) return undefined;
  const [hour, minute] = text.split(':').map(Number);
  return hour < 24 && minute < 60 ? hour * 60 + minute : undefined;
}

/** A number in the digits of `zones.js`. */
function base64(text) {
  return [...text].reduce((number, digit) => number * 64 + DIGITS.indexOf(digit), 0);
}

/** Never negative. */
function modulo(number, by) {
  return ((number % by) + by) % by;
}
