// What can go wrong, each with a code for programs and a sentence for people.

export class AttncError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "AttncError";
    this.code = code;
  }
}
