import type { Place } from './place.ts';

/**
 * What the schema knows and this version cannot do yet, one row each. To build one: delete its row, and add its case
 * where the compiler then asks for it.
 */
const UNSUPPORTED = [
  { on: 'authorization_server', key: 'grant', value: 'jwt_bearer' },
  { on: 'authorization_server', key: 'dpop', value: true },
  { on: 'client_auth', key: 'method', value: 'client_secret_jwt' },
  { on: 'client_auth', key: 'method', value: 'client_assertion' },
  { on: 'client_auth', key: 'method', value: 'tls_client_auth' },
  { on: 'subject_token', key: 'file', value: undefined },
  { on: 'subject_token', key: 'verify', value: undefined },
  { on: 'route', key: 'chain', value: undefined },
] as const;

type Row = (typeof UNSUPPORTED)[number];

/** The values of a key that are not built yet. */
export type Unsupported<On extends Row['on'], Key extends Row['key']> = Extract<Row, { on: On; key: Key }>['value'];

/** Refuses by name what stands in a map and is not built yet. */
export function refuseUnsupported(on: Row['on'], written: object, place: Place) {
  const values = new Map(Object.entries(written));
  for (const row of UNSUPPORTED) {
    const value: unknown = values.get(row.key);
    if (row.on !== on || value === undefined || (row.value !== undefined && value !== row.value)) continue;
    if (typeof row.value === 'string') {
      place.at(row.key).error(`"${row.value}" is not supported by this version yet: choose another`);
    } else {
      place.at(row.key).error('not supported by this version yet: remove it', 'key');
    }
  }
}

/** Is this value of a key one that `refuseUnsupported` has refused? */
export function isUnsupported<On extends Row['on'], Key extends Row['key']>(
  on: On,
  key: Key,
  value: unknown,
): value is Unsupported<On, Key> {
  return UNSUPPORTED.some((row) => row.on === on && row.key === key && row.value === value);
}
