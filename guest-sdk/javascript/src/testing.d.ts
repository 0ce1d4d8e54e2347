import type { Decision, Effect, Exports, GrantKind, Target } from './index.js';

export interface CallBuilder {
  build(): unknown;
  received(when: number | string): this;
  subject(id: string): this;
  attribute(name: string, value: unknown): this;
  entitlement(entitlement: string): this;
  requested(kind: GrantKind, id: string): this;
  lifetime(target: Target, seconds: number, least?: number, most?: number): this;
  payload(value: unknown): this;
  with(members: object): this;
}
export interface TestRow { key: string; subject?: string; columns: Record<string, unknown> }
export declare function setTable(name: string, rows: TestRow[], more?: { stale?: boolean }): void;
export declare function enter(call: unknown): void;
export declare function reset(): void;
export declare function call(hook: string): CallBuilder;
export declare function configured(exports: Exports, settings: unknown): Exports;
export declare function refusal(exports: Exports, settings: unknown): string[] | undefined;
export declare function decide(exports: Exports, call: unknown): Decision & { verdict: Effect; codes: string[] };
export declare function sandboxed<T>(ask: () => T): T;
