/** Compares a header's name with one in lower case. Most names differ in length. */
export function isHeader(name: string, lowerCase: string): boolean {
  return name.length === lowerCase.length && name.toLowerCase() === lowerCase;
}
