/** Takes records to their destination. */
export interface RecordSink {
  /**
   * Opens the destination, so that a problem shows before the first record. Harmless where it is open.
   * @throws {Error} where it cannot be opened
   */
  open(): Promise<void>;
  /**
   * Writes complete lines.
   * @returns the number of bytes that the destination has taken. Fewer than all: it is slow, and takes the rest later
   * @throws {Error} where it took nothing more
   */
  send(lines: Buffer): number | Promise<number>;
  /** `send` returns without waiting, so a record can be on its way before its response is. */
  readonly isSynchronous: boolean;
  /** Opens the destination again before the next record, because it may have been rotated. */
  reopen(): void;
  close(): Promise<void>;
}
