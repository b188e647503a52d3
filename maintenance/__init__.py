"""What operators do now and then: back up, restore, reconcile, prune."""
