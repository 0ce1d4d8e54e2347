import type { Problems } from './index.js';

/** Days such as `2026-11-30`, years 1 to 9999. */
export type Day = string;
/** Milliseconds since the Unix epoch. */
export type Instant = number;
/** Minutes since midnight. */
export interface Shift { begin: number; end: number }
export interface LocalTime { date: Day; hour: number; minute: number; second: number; millisecond: number }
export interface Zone {
  readonly name: string;
  local(instant: Instant): LocalTime | undefined;
  instant(local: Pick<LocalTime, 'date'> & Partial<LocalTime>): Instant | undefined;
  startOfDay(date: Day): Instant | undefined;
  endOfDay(date: Day): Instant | undefined;
  shiftDay(instant: Instant, shift: Shift): Day | undefined;
}

/** The version of the IANA database. */
export declare const TZDB: string;
export declare function parseDate(text: unknown): Day | undefined;
export declare function parseInstant(text: unknown): Instant | undefined;
export declare function weekday(date: Day): number;
export declare function addDays(date: Day, days: number): Day | undefined;
export declare function addMonths(date: Day, months: number): Day | undefined;
export declare function shift(begin: unknown, end: unknown): Shift | undefined;
export declare function zone(name: unknown): Zone | undefined;
export declare class Holidays {
  constructor(entries: unknown, problems?: Problems, path?: string);
  has(date: Day): boolean;
}
export declare function holidayInTable(table: string, date: Day): boolean;
