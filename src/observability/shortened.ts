/** Copies the start of a text that is longer: V8's slice would keep all of it in memory. */
export function shortened(text: string, length: number): string {
  return text.length <= length ? text : Buffer.from(text.slice(0, length)).toString();
}
