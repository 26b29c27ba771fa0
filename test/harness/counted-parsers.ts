/** The parsers that http1 has in WebAssembly's memory. */
export interface CountedParsers {
  inUse(): number;
  memoryBytes(): number;
}

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  llhttp_alloc(type: number): number;
  llhttp_free(parser: number): void;
}

/** Counts them from now on, in a process that has made none yet. */
export function countParsers(): CountedParsers {
  const { Instance } = WebAssembly;
  const inUse = new Set<number>();
  let memory: Exports['memory'] | undefined;

  class CountedInstance {
    readonly exports: Exports;
    constructor(...given: ConstructorParameters<typeof Instance>) {
      const exports = new Instance(...given).exports as unknown as Exports;
      memory = exports.memory;
      this.exports = {
        ...exports,
        llhttp_alloc(type) {
          const parser = exports.llhttp_alloc(type);
          inUse.add(parser);
          return parser;
        },
        llhttp_free(parser) {
          if (!inUse.delete(parser)) throw new Error('a parser is freed that is none, or no more');
          exports.llhttp_free(parser);
        },
      };
    }
  }
  Object.assign(WebAssembly, { Instance: CountedInstance });
  return { inUse: () => inUse.size, memoryBytes: () => memory?.buffer.byteLength ?? 0 };
}
