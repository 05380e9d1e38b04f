"""Without a service: what calls `schedule once` at the right moments, written for cron, systemd and Kubernetes.

None of them decides anything. They wake `schedule once` at instants among which every slot is, it looks into the ledger
and runs what is due. So a line may wake too often, and never too seldom; what cannot be said so is refused.
"""
