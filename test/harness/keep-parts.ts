interface Part {
  close(): unknown;
}

/** Keeps the parts of a setup until `close`, which closes them in reverse order. */
export function keepParts() {
  const parts: Part[] = [];
  return {
    keep<Kept extends Part>(part: Kept): Kept {
      parts.unshift(part);
      return part;
    },
    async close(): Promise<void> {
      for (const part of parts) await part.close();
    },
  };
}
