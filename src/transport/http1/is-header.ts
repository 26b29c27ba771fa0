/** Is it the header of this lower-case name? Most are told apart by their length. */
export function isHeader(name: string, lowerCase: string): boolean {
  return name.length === lowerCase.length && name.toLowerCase() === lowerCase;
}
