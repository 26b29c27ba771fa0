/** Alternating header names and values as received, with their letter case and duplicates. */
export type RawHeaders = readonly string[];

const NONE: readonly string[] = [];

/** All values of one header. @param name lower case */
export function headerValues(raw: RawHeaders, name: string): readonly string[] {
  let values: string[] | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const key = raw[i] as string;
    if (key.length !== name.length || key.toLowerCase() !== name) continue;
    // Most headers occur once, and V8 reserves room for 17 values in an array that grows.
    if (values === undefined) values = [raw[i + 1] as string];
    else values.push(raw[i + 1] as string);
  }
  return values ?? NONE;
}

/** Carries the request id in requests and responses. */
export const REQUEST_ID = 'x-request-id';
