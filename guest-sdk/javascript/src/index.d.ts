export type Effect = 'abstain' | 'allow' | 'step-up' | 'review' | 'deny';
export type Severity = 'info' | 'low' | 'medium' | 'high' | 'critical';
export type Target = 'id-token' | 'access-token' | 'assertion' | 'user' | 'app-user' | 'request' | 'response';
export type GrantKind = 'entitlement' | 'group' | 'role' | 'scope' | 'app' | 'claim';
export type PrincipalKind = 'person' | 'service' | 'agent' | 'device' | 'other';
export type CredentialFound = 'verified' | 'unverified' | 'migrate' | 'update' | 'retry' | 'block';

/** `value` is JSON text. */
export interface Attribute { name: string; value: string }
export interface Principal { kind: PrincipalKind; typeName: string; id?: string; attributes: Attribute[]; entitlements: string[] }
export interface Entity { typeName: string; id?: string; attributes: Attribute[] }
export interface Origin { ip?: string; country?: string; asn?: number; userAgent?: string; device?: string; session?: string }
export interface Grant { kind: GrantKind; id: string }
/** Seconds: what the platform means, and the least and the most that an answer can say. */
export interface Lifetime { target: Target; seconds: number; least: number; most: number }
export type Change = { tag: string; val?: unknown };

export interface Call {
  id: string; correlation?: string; tenant: string; hook: string; phase?: string;
  /** Milliseconds since the Unix epoch, UTC: the only clock. */
  received: number;
  /** The only randomness. */
  seed: bigint;
  subject?: Principal; actors: Principal[]; action?: Entity; resource?: Entity; requested: Grant[]; lifetimes: Lifetime[];
  origin?: Origin; purpose?: string; proposed: Change[];
  /** JSON text. */
  payload: string;
}
export interface Finding { code: string; effect: Effect; severity: Severity; arguments: Attribute[]; field?: string }
export interface Decision { findings: Finding[]; changes: Change[]; risk?: number }
export interface Page { limit: number; after?: string }
export interface Found { results: Entity[]; next?: string }

/** Whose memory: that of the call's subject, or one that all subjects share. */
export type Scope = 'subject' | 'shared';
export interface Row { columns: Attribute[] }
export interface TableRows { rows: Row[]; version: string; stale: boolean }
export interface SubjectRows extends TableRows { matched: 'none' | 'one' | 'several' }
export declare function lookup(table: string, key: string): TableRows;
export declare function lookupSubject(table: string): SubjectRows;
export declare function column(row: Row, name: string): unknown;
export declare function recall(scope: Scope, key: string): Uint8Array | undefined;
export declare function remember(scope: Scope, key: string, value: Uint8Array, ttlSeconds: number): void;
export declare function forget(scope: Scope, key: string): void;
export declare function count(scope: Scope, key: string, windowSeconds: number): number;
export declare function tally(scope: Scope, key: string, windowSeconds: number): number;
export declare function countDistinct(scope: Scope, key: string, windowSeconds: number): number;
export declare function tallyDistinct(scope: Scope, key: string, member: string, windowSeconds: number): number;

export type Shape =
  | 'string' | 'boolean' | 'number' | 'integer' | [Shape] | Set<string> | { [member: string]: Shape }
  | ((value: unknown, path: string, problems: Problems) => boolean);

export declare const EFFECTS: readonly Effect[];
export declare class Problems {
  at(path: string, what: string): void;
  check(value: unknown, shape: Shape, path?: string): boolean;
  readonly none: boolean;
  readonly sentences: string[];
}
export interface Exports {
  configure(settings: string): void;
  evaluate(call: unknown): Decision;
  search?: { find(call: unknown, page: Page): Found };
}
export declare function plugin<State>(of: {
  configure(settings: any, problems: Problems): State;
  evaluate(state: State, call: Call): Decision;
  find?(state: State, call: Call, page: Page): Found;
}): Exports;
export declare function text(json: string | undefined): string | undefined;
export declare function attribute(who: Principal | Entity | undefined, name: string): unknown;
export declare function attributeText(who: Principal | Entity | undefined, name: string): string | undefined;
export declare function finding(
  code: string, effect: Effect, more?: { severity?: Severity; field?: string; arguments?: Record<string, unknown> },
): Finding;
export declare function decision(of?: { findings?: Finding[]; changes?: Change[]; risk?: number }): Decision;
export declare function verdict(decision: Pick<Decision, 'findings'>): Effect;
export declare const change: {
  set(target: Target, path: string, value: unknown): Change;
  remove(target: Target, path: string): Change;
  capLifetime(target: Target, seconds: number): Change;
  addGrant(kind: GrantKind, id: string): Change;
  dropGrant(kind: GrantKind, id: string): Change;
  linkUser(id: string): Change;
  createUser(): Change;
  credential(found: CredentialFound): Change;
  autoApprove(): Change;
  requireApprovers(people: string[]): Change;
  statement(of: { name: string; code: string; payload: unknown; obligatory: boolean }): Change;
  waive(codes: string[]): Change;
};
