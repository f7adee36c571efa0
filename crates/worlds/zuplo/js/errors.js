/** An error whose `extensionMembers` the client is shown in the problem body; its message goes to the log alone. */
class RuntimeError extends Error {
  constructor(messageOrOptions, options = undefined) {
    const detailed = typeof messageOrOptions === 'object' && messageOrOptions !== null;
    const message = detailed ? messageOrOptions.message : messageOrOptions;
    super(message, options);
    if (detailed && messageOrOptions.extensionMembers !== undefined) {
      this.extensionMembers = messageOrOptions.extensionMembers;
    }
  }
}
hide(RuntimeError.prototype, 'name', 'RuntimeError');

/** Something in the project's configuration is wrong. */
class ConfigurationError extends RuntimeError {}
hide(ConfigurationError.prototype, 'name', 'ConfigurationError');
