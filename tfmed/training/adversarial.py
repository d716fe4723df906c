"""AdversarialModel: the alternation that GANs share."""

from tfmed.training.model import TrainingModel, move_average


class AdversarialModel(TrainingModel):
    """A GAN: `critic_steps` critic updates on fresh samples, then one generator update, then the average of weights.

    A subclass builds its networks, calls `finish_building` with the optimizers "critic" and "generator", and writes
    `critic_loss(batch, tag)` and `generator_loss(batch, tag)`; each returns the scalar mean loss and what to log. `tag`
    tells the noise draws of a step apart.

    Args:
        critic_steps: critic updates per generator update; a step's batch holds the samples of all of them.
        ema_decay: decay of the averaged generator weights; 0 keeps none.
    """

    def __init__(self, critic_steps=1, ema_decay=0.0, **kwargs):
        super().__init__(**kwargs)
        self.critic_steps = critic_steps
        self.ema_decay = ema_decay
        self.averages = []

    def average_of(self, make):
        """A second generator network that follows the first by moving average; None when `ema_decay` is 0."""
        if not self.ema_decay:
            return None
        return make()

    def start_averages(self, pairs):
        """Say which network follows which: list of (average, network). Both must be built."""
        self.averages = [(average, network) for average, network in pairs if average is not None]
        for average, network in self.averages:
            average.set_weights(network.get_weights())
            average.trainable = False

    def train_step(self, batch):
        logs = {}
        for k in range(self.critic_steps):
            logs |= self.update("critic", lambda part, k=k: self.critic_loss(part, k), self.draw(batch, k))
        logs |= self.update("generator", lambda part: self.generator_loss(part, self.critic_steps), self.draw(batch, 0))
        for average, network in self.averages:
            move_average(average, network, self.ema_decay)
        return self.log(logs)

    def draw(self, batch, k):
        """The k-th of `critic_steps` equal parts of this replica's batch: every `critic_steps`-th sample, so that all
        replicas' parts together are the same samples however many replicas there are."""
        return {name: value[k :: self.critic_steps] for name, value in batch.items()}
