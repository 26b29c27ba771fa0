/** The words of a text: a list of short values, in fewer lines than an array of strings. */
export function words(text: string): string[] {
  return text.trim().split(/\s+/);
}
